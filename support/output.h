// output -- lines on standard output and error, whole whoever else writes.

#pragma once

#include <cstdio>
#include <string>

/// One fwrite() and one flush under the stream's own lock: one write(2).
inline void write_to(std::FILE* stream, const std::string& text)
{
    flockfile(stream);
    std::fwrite(text.data(), 1, text.size(), stream);
    std::fflush(stream);
    funlockfile(stream);
}
