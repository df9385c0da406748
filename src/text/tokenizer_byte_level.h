// GPT-2's spelling of bytes as printable characters, which byte-level vocabularies are written in.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace quire {

// Appends each byte as its character.
void AppendByteLevel(std::string& out, std::string_view bytes);

// The bytes that a token of such characters stands for; nothing where another character is among
// them.
std::optional<std::string> BytesOfByteLevel(std::string_view token);

}  // namespace quire
