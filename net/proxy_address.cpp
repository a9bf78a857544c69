#include "net/proxy_address.hpp"

#include "net/cidr.hpp"

#include <algorithm>
#include <charconv>
#include <optional>

namespace troupe {
namespace {

constexpr size_t ports_max = 1024, socket_path_max = 107;

std::optional<uint16_t> parse_port(std::string_view text) {
  uint16_t port = 0;
  auto [end, bad] = std::from_chars(text.data(), text.data() + text.size(), port);
  if (bad != std::errc{} || end != text.data() + text.size() || port == 0) return std::nullopt;
  return port;
}

bool parse_ports(std::string_view text, std::vector<uint16_t>& out) {
  while (!text.empty()) {
    auto part = text.substr(0, text.find(','));
    text.remove_prefix(std::min(part.size() + 1, text.size()));
    auto dash = part.find('-');
    auto first = parse_port(part.substr(0, dash)), last = dash == part.npos ? first : parse_port(part.substr(dash + 1));
    if (!first || !last || *last < *first || out.size() + *last - *first >= ports_max) return false;
    for (unsigned port = *first; port <= *last; ++port) out.push_back(static_cast<uint16_t>(port));
  }
  return !out.empty();
}

} // namespace

outcome<proxy_address> parse_endpoint(std::string_view text) {
  auto bad = fail(fault::invalid, "Not an address of a proxy: " + std::string{text});
  if (std::any_of(text.begin(), text.end(), [](unsigned char c) { return c <= 0x20 || c == 0x7f; })) return bad;
  proxy_address out;
  auto colon = text.find(':');
  if (colon == text.npos) return bad;
  auto kind = text.substr(0, colon), rest = text.substr(colon + 1);
  if (kind == "unix") {
    out.what = rest.starts_with('@') ? proxy_address::kind::unix_abstract : proxy_address::kind::unix_path;
    out.host = rest.starts_with('@') ? rest.substr(1) : rest;
    bool good = !out.host.empty() && out.host.size() <= socket_path_max && (rest[0] == '@' || rest[0] == '/');
    return good ? outcome<proxy_address>{out} : bad;
  }
  if (kind != "tcp" && kind != "udp") return bad;
  out.what = kind == "tcp" ? proxy_address::kind::tcp : proxy_address::kind::udp;
  auto last = rest.rfind(':');
  if (last == rest.npos) return bad;
  auto host = rest.substr(0, last);
  bool bracketed = host.starts_with('[') && host.ends_with(']');
  if (bracketed) host = host.substr(1, host.size() - 2);
  auto ip = parse_ip(host, bracketed ? AF_INET6 : AF_INET);
  if (!ip || !parse_ports(rest.substr(last + 1), out.ports)) return bad;
  out.host = ip_text(*ip);
  return out;
}

} // namespace troupe
