#include "gateway/proxy_header.hpp"

#include "runtime/listen_address.hpp"

#include <algorithm>
#include <arpa/inet.h>
#include <array>
#include <cstring>
#include <netinet/in.h>
#include <sstream>

namespace troupe {
namespace {

constexpr std::string_view text_begin = "PROXY ";
constexpr std::string_view binary_begin{"\r\n\r\n\0\r\nQUIT\n", 12};
constexpr size_t text_bytes_max = 107;
constexpr size_t binary_head_bytes = 16;

/// As much of `bytes` as there is agrees with `prefix`.
bool may_begin(std::string_view bytes, std::string_view prefix) {
  auto size = std::min(bytes.size(), prefix.size());
  return bytes.substr(0, size) == prefix.substr(0, size);
}

// "PROXY TCP4 192.0.2.1 192.0.2.2 56324 443\r\n"
proxy_header parse_text(std::string_view bytes) {
  auto end = bytes.find("\r\n");
  if (end == bytes.npos || end + 2 > text_bytes_max)
    return {bytes.size() < text_bytes_max ? proxy_header::more : proxy_header::broken, 0, {}};
  std::istringstream words{std::string{bytes.substr(text_begin.size(), end - text_begin.size())}};
  std::string family, source, target, port;
  words >> family >> source >> target >> port;
  if (family == "UNKNOWN") return {proxy_header::complete, end + 2, {}};
  bool digits = !port.empty() && port.size() <= 5 &&
                std::all_of(port.begin(), port.end(), [](unsigned char c) { return std::isdigit(c); });
  if ((family != "TCP4" && family != "TCP6") || !is_ip(source) || !digits) return {proxy_header::broken, 0, {}};
  auto host = family == "TCP6" ? '[' + source + ']' : source;
  return {proxy_header::complete, end + 2, host + ':' + port};
}

uint16_t big_endian(std::string_view bytes) {
  uint16_t value = 0;
  memcpy(&value, bytes.data(), sizeof value);
  return ntohs(value);
}

template <class Address, size_t AddressBytes>
std::string source_of(std::string_view block, int family) {
  sockaddr_storage out{};
  out.ss_family = static_cast<sa_family_t>(family);
  auto port = htons(big_endian(block.substr(2 * AddressBytes)));
  if constexpr (AddressBytes == 4) {
    auto& v4 = reinterpret_cast<sockaddr_in&>(out);
    memcpy(&v4.sin_addr, block.data(), AddressBytes);
    v4.sin_port = port;
  } else {
    auto& v6 = reinterpret_cast<sockaddr_in6&>(out);
    memcpy(&v6.sin6_addr, block.data(), AddressBytes);
    v6.sin6_port = port;
  }
  return to_string(out);
}

proxy_header parse_binary(std::string_view bytes) {
  if (bytes.size() < binary_head_bytes) return {};
  auto command = static_cast<unsigned char>(bytes[12]), family = static_cast<unsigned char>(bytes[13]);
  size_t size = binary_head_bytes + big_endian(bytes.substr(14));
  if (command >> 4 != 2 || size > 1024) return {proxy_header::broken, 0, {}};
  if (bytes.size() < size) return {};
  auto block = bytes.substr(binary_head_bytes, size - binary_head_bytes);
  if ((command & 15) == 0) return {proxy_header::complete, size, {}}; // LOCAL: a health check
  if (family == 0x11 && block.size() >= 12)
    return {proxy_header::complete, size, source_of<sockaddr_in, 4>(block, AF_INET)};
  if (family == 0x21 && block.size() >= 36)
    return {proxy_header::complete, size, source_of<sockaddr_in6, 16>(block, AF_INET6)};
  return {proxy_header::broken, 0, {}};
}

} // namespace

proxy_header parse_proxy_header(std::string_view bytes) {
  if (may_begin(bytes, text_begin)) return bytes.size() < text_begin.size() ? proxy_header{} : parse_text(bytes);
  if (may_begin(bytes, binary_begin)) return parse_binary(bytes);
  return {proxy_header::complete, 0, {}};
}

} // namespace troupe
