#include "support/log/escape.h"

#include "catch.h"

using Lines = std::vector<std::string>;

TEST_CASE("text stays as it is, in any language", "[escape]")
{
    for (const char* text : {"", "plain", "你好。。。", "é, ж, 🙂"})
        CHECK(escaped(text) == text);
}

TEST_CASE("what a terminal would obey is escaped", "[escape]")
{
    CHECK(escaped("a\x1b[2Jb\rc\td\x7f") == "a\\x1b[2Jb\\x0dc\\x09d\\x7f");
    CHECK(escaped(std::string_view{"\0", 1}) == "\\x00");
    // C1 controls as UTF-8, one of which begins a sequence like ESC [.
    CHECK(escaped("\xc2\x9b"
                  "31m")
        == "\\xc2\\x9b31m");
    // Marks that turn the direction of writing, or show nothing.
    CHECK(escaped("\xe2\x80\xae") == "\\xe2\\x80\\xae");
    CHECK(escaped("\xe2\x81\xa6") == "\\xe2\\x81\\xa6");
    CHECK(escaped("\xef\xbb\xbf") == "\\xef\\xbb\\xbf");
}

TEST_CASE("bytes that are not UTF-8 are escaped", "[escape]")
{
    CHECK(escaped("\xff") == "\\xff");
    CHECK(escaped("\x80") == "\\x80");
    CHECK(escaped("\xc0\xaf") == "\\xc0\\xaf");  // longer than needed
    CHECK(escaped("\xed\xa0\x80") == "\\xed\\xa0\\x80");  // a surrogate
    CHECK(escaped("\xf4\x90\x80\x80") == "\\xf4\\x90\\x80\\x80");
    CHECK(escaped("\xe4\xbd") == "\\xe4\\xbd");  // cut short
    CHECK(escaped("\xe4"
                  "a")
        == "\\xe4"
           "a");
}

TEST_CASE("JSON strings hold no control, direction or stray byte", "[escape]")
{
    CHECK(quoted("plain, 你好, 🙂") == "\"plain, 你好, 🙂\"");
    CHECK(quoted("\"\\/") == R"("\"\\/")");
    CHECK(quoted("\t\n\x1b\x7f") == R"("\u0009\u000a\u001b\u007f")");
    CHECK(quoted(std::string_view{"\0", 1}) == R"("\u0000")");
    CHECK(quoted("\xc2\x85") == R"("\u0085")");  // C1: NEXT LINE
    CHECK(quoted("\xe2\x80\xae") == R"("\u202e")");  // from right to left
    CHECK(quoted("\xe2\x80\xa8") == R"("\u2028")");  // LINE SEPARATOR
    CHECK(quoted("\xff") == R"("\\xff")");
    CHECK(quoted("\xe4\xbd") == R"("\\xe4\\xbd")");  // cut short
    CHECK(quoted("\xed\xa0\x80") == R"("\\xed\\xa0\\x80")");  // surrogate
}

TEST_CASE("text may have control characters, but no NUL", "[escape]")
{
    CHECK(is_text("a\x1b[2J\n"));
    CHECK(is_text("你好"));
    CHECK_FALSE(is_text(std::string_view{"a\0b", 3}));
    CHECK_FALSE(is_text("\xff\xd8\xff\xe0"));
}

TEST_CASE("a character that is not complete is found", "[escape]")
{
    const std::string text = "a你🙂";
    for (std::size_t n = 0; n <= text.size(); ++n) {
        const std::size_t complete = n < 1 ? 0 : n < 4 ? 1 : n < 8 ? 4 : 8;
        CHECK(unfinished(std::string_view{text}.substr(0, n)) == n - complete);
    }
    CHECK(unfinished("\x80\x80\x80\x80") == 0);
}

TEST_CASE("lines are broken at spaces, and go on indented", "[escape]")
{
    CHECK(wrap("one two three", 20) == Lines{"one two three"});
    CHECK(wrap("one two three", 12) == Lines{"one two", "      three"});
    CHECK(wrap("  one two three four five six seven", 20)
        == Lines{"  one two three four", "        five six", "        seven"});
    CHECK(wrap("one\n\n  two", 9) == Lines{"one", "", "  two"});
    CHECK(wrap("", 9) == Lines{""});
    CHECK(wrap("one two", 5) == Lines{"one", "  two"});  // half of it at most
}

TEST_CASE("a mark before a line is before what continues it", "[escape]")
{
    CHECK(
        wrap("  | one two three", 16) == Lines{"  | one two", "  |     three"});
    CHECK(wrap("  | ", 16) == Lines{"  | "});
}

TEST_CASE("escaped lines keep their line feeds, and get a margin", "[escape]")
{
    CHECK(escaped_lines("a\r\n\r\nb\x1b\rc\n", "| ")
        == "| a\n| \n| b\\x1b\\x0dc");
    CHECK(escaped_lines("\n\n", "| ") == "| \n| ");
    CHECK(escaped_lines("one", "") == "one");
    CHECK(escaped_lines("", "| ").empty());
}

TEST_CASE("a word longer than the line is cut, wide characters count twice",
    "[escape]")
{
    CHECK(wrap("abcdefghij", 4) == Lines{"abcd", "  ef", "  gh", "  ij"});
    CHECK(wrap("你好吗", 4) == Lines{"你好", "  吗"});
    CHECK(wrap("a\x1b"
               "b",
              4)
        == Lines{"a\\x1", "  bb"});
    CHECK(wrap("你", 1) == Lines{"你"});
}
