#include "support/printable.h"

#include "catch.h"

using Lines = std::vector<std::string>;

TEST_CASE("text stays as it is, in any language", "[printable]")
{
    for (const char* text : {"", "plain", "你好。。。", "é, ж, 🙂"})
        CHECK(printable(text) == text);
}

TEST_CASE("what a terminal would obey is escaped", "[printable]")
{
    CHECK(printable("a\x1b[2Jb\rc\td\x7f") == "a\\x1b[2Jb\\x0dc\\x09d\\x7f");
    CHECK(printable(std::string_view{"\0", 1}) == "\\x00");
    // C1 controls as UTF-8, one of which begins a sequence like ESC [.
    CHECK(printable("\xc2\x9b"
                    "31m")
        == "\\xc2\\x9b31m");
    // Marks that turn the direction of writing, or show nothing.
    CHECK(printable("\xe2\x80\xae") == "\\xe2\\x80\\xae");
    CHECK(printable("\xe2\x81\xa6") == "\\xe2\\x81\\xa6");
    CHECK(printable("\xef\xbb\xbf") == "\\xef\\xbb\\xbf");
}

TEST_CASE("bytes that are no UTF-8 are escaped", "[printable]")
{
    CHECK(printable("\xff") == "\\xff");
    CHECK(printable("\x80") == "\\x80");
    CHECK(printable("\xc0\xaf") == "\\xc0\\xaf");  // longer than needed
    CHECK(printable("\xed\xa0\x80") == "\\xed\\xa0\\x80");  // a surrogate
    CHECK(printable("\xf4\x90\x80\x80") == "\\xf4\\x90\\x80\\x80");
    CHECK(printable("\xe4\xbd") == "\\xe4\\xbd");  // cut short
    CHECK(printable("\xe4"
                    "a")
        == "\\xe4"
           "a");
}

TEST_CASE("text may have control characters, but no NUL", "[printable]")
{
    CHECK(is_text("a\x1b[2J\n"));
    CHECK(is_text("你好"));
    CHECK_FALSE(is_text(std::string_view{"a\0b", 3}));
    CHECK_FALSE(is_text("\xff\xd8\xff\xe0"));
}

TEST_CASE("a character that is not complete is found", "[printable]")
{
    const std::string text = "a你🙂";
    for (std::size_t n = 0; n <= text.size(); ++n) {
        const std::size_t complete = n < 1 ? 0 : n < 4 ? 1 : n < 8 ? 4 : 8;
        CHECK(unfinished(std::string_view{text}.substr(0, n)) == n - complete);
    }
    CHECK(unfinished("\x80\x80\x80\x80") == 0);
}

TEST_CASE("lines are broken at spaces, and go on indented", "[printable]")
{
    CHECK(wrap("one two three", 20) == Lines{"one two three"});
    CHECK(wrap("one two three", 9) == Lines{"one two", "  three"});
    CHECK(wrap("  one two three", 9) == Lines{"  one two", "    three"});
    CHECK(wrap("one\n\n  two", 9) == Lines{"one", "", "  two"});
    CHECK(wrap("", 9) == Lines{""});
}

TEST_CASE("a word longer than the line is cut, wide characters count twice",
    "[printable]")
{
    CHECK(wrap("abcdefghij", 4) == Lines{"abcd", "  ef", "  gh", "  ij"});
    CHECK(wrap("你好吗", 4) == Lines{"你好", "  吗"});
    CHECK(wrap("a\x1b"
               "b",
              4)
        == Lines{"a\\x1", "  bb"});
    CHECK(wrap("你", 1) == Lines{"你"});
}
