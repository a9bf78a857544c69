#include "persist/keys.hpp"

#include "persist/store.hpp"

#include <algorithm>

namespace troupe {

std::string epoch_key_of(const std::string& member) { return std::string{epoch_key} + "/" + member; }

std::string encode_number(uint64_t number) {
  std::string bytes(8, '\0');
  for (size_t i = 8; i-- > 0; number >>= 8) bytes[i] = static_cast<char>(number & 0xff);
  return bytes;
}

uint64_t decode_number(std::string_view bytes) {
  uint64_t number = 0;
  for (size_t i = 0; i < std::min<size_t>(8, bytes.size()); ++i) number = number << 8 | static_cast<uint8_t>(bytes[i]);
  return number;
}

std::string event_key(uint64_t seq) { return encode_number(seq); }

uint64_t event_seq(std::string_view key) { return key.size() < 8 ? 0 : decode_number(key.substr(key.size() - 8)); }

std::string history_prefix(std::string_view kind, std::string_view project, std::string_view entity) {
  std::string key;
  key.reserve(kind.size() + project.size() + entity.size() + 11);
  key.append(kind).append("/").append(project).append("/").append(entity).push_back('\0');
  return key;
}

} // namespace troupe
