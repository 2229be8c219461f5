// Catch2, version 2 (one header) or 3 (a library).  No header of ours here: g++
// reads this file compiled, and make would not see that one has changed.
#pragma once

#if __has_include(<catch2/catch_all.hpp>)
#include <catch2/catch_all.hpp>
using Catch::Matchers::ContainsSubstring;
using Catch::Matchers::StartsWith;
#else
#include <catch2/catch.hpp>
inline auto ContainsSubstring(const std::string& text)
{
    return Catch::Matchers::Contains(text);
}
using Catch::Matchers::StartsWith;
#endif
