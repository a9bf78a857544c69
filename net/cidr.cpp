#include "net/cidr.hpp"

#include <algorithm>
#include <arpa/inet.h>
#include <charconv>

namespace troupe {
namespace {

/// The mask of byte `i` of a prefix.
uint8_t mask_byte(unsigned prefix, unsigned i) {
  if (prefix >= 8 * (i + 1)) return 0xff;
  return prefix <= 8 * i ? 0 : static_cast<uint8_t>(0xff << (8 - (prefix - 8 * i)));
}

} // namespace

std::optional<cidr> parse_ip(std::string_view text, int family) {
  if (text.size() >= INET6_ADDRSTRLEN) return {};
  char copy[INET6_ADDRSTRLEN] = {};
  std::copy(text.begin(), text.end(), copy);
  if (std::find(text.begin(), text.end(), '\0') != text.end()) return {};
  cidr out;
  out.family = family != AF_UNSPEC ? family : text.find(':') == text.npos ? AF_INET : AF_INET6;
  out.prefix = out.width();
  if (inet_pton(out.family, copy, out.bytes.data()) != 1) return {};
  return out;
}

std::optional<cidr> parse_cidr(std::string_view text, int family) {
  auto slash = text.find('/');
  if (slash == text.npos) return {};
  auto out = parse_ip(text.substr(0, slash), family);
  auto number = text.substr(slash + 1);
  unsigned prefix = 0;
  auto [end, code] = std::from_chars(number.data(), number.data() + number.size(), prefix);
  if (!out || code != std::errc{} || end != number.data() + number.size() || prefix > out->width()) return {};
  out->prefix = prefix;
  return out;
}

std::string ip_text(const cidr& value) {
  char text[INET6_ADDRSTRLEN] = {};
  inet_ntop(value.family, value.bytes.data(), text, sizeof text);
  return text;
}

std::string cidr_text(const cidr& value) { return ip_text(value) + "/" + std::to_string(value.prefix); }

cidr network_of(const cidr& value) {
  cidr out = value;
  for (unsigned i = 0; i < out.bytes.size(); ++i) out.bytes[i] &= mask_byte(value.prefix, i);
  return out;
}

cidr nth_address(const cidr& subnet, int offset) {
  cidr out = network_of(subnet);
  unsigned length = subnet.width() / 8;
  if (offset < 0) {
    for (unsigned i = 0; i < length; ++i) out.bytes[i] |= static_cast<uint8_t>(~mask_byte(subnet.prefix, i));
    ++offset;
  }
  int64_t carry = offset;
  for (unsigned i = length; i-- > 0 && carry != 0;) {
    carry += out.bytes[i];
    out.bytes[i] = static_cast<uint8_t>(carry & 0xff);
    carry >>= 8;
  }
  return out;
}

bool overlap(const cidr& a, const cidr& b) {
  if (a.family != b.family) return false;
  cidr left = a, right = b;
  left.prefix = right.prefix = std::min(a.prefix, b.prefix);
  return network_of(left).bytes == network_of(right).bytes;
}

bool contains(const cidr& subnet, const cidr& part) { return subnet.prefix <= part.prefix && overlap(subnet, part); }

} // namespace troupe
