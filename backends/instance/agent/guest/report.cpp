#include "backends/instance/agent/guest/report.hpp"

#include "messages/unique_fd.hpp"

#include <algorithm>
#include <arpa/inet.h>
#include <bit>
#include <cstdlib>
#include <cstring>
#include <dirent.h>
#include <fcntl.h>
#include <ifaddrs.h>
#include <map>
#include <net/if.h>
#include <netinet/in.h>
#include <string>
#include <string_view>
#include <sys/statvfs.h>
#include <sys/utsname.h>
#include <unistd.h>
#include <vector>

namespace troupe::guest {
namespace {

constexpr size_t small_file_bytes = 16 << 10;

std::string read_small(const std::string& path) {
  unique_fd fd{::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)};
  std::string out(small_file_bytes, '\0');
  auto got = fd ? ::read(fd.get(), out.data(), out.size()) : 0;
  out.resize(got > 0 ? static_cast<size_t>(got) : 0);
  return out;
}

/// What stands behind `key` at the begin of a line, up to that line's end.
std::string_view value_of(std::string_view text, std::string_view key) {
  while (!text.empty()) {
    auto line = text.substr(0, text.find('\n'));
    text.remove_prefix(std::min(line.size() + 1, text.size()));
    if (line.starts_with(key)) return line.substr(key.size());
  }
  return {};
}

int64_t kilobytes(std::string_view meminfo, std::string_view key) {
  return std::atoll(std::string{value_of(meminfo, key)}.c_str()) * 1024;
}

std::string unquoted(std::string_view value) {
  if (value.size() >= 2 && (value.front() == '"' || value.front() == '\'') && value.back() == value.front())
    value = value.substr(1, value.size() - 2);
  return std::string{value};
}

int64_t count_processes() {
  DIR* proc = ::opendir("/proc");
  if (proc == nullptr) return -1;
  int64_t out = 0;
  while (auto* entry = ::readdir(proc)) out += entry->d_name[0] >= '1' && entry->d_name[0] <= '9';
  ::closedir(proc);
  return out;
}

struct address {
  std::string family, text, scope;
  uint32_t prefix;
};
struct card {
  unsigned flags = 0;
  std::vector<address> addresses;
};

template <class Mask>
uint32_t bits_of(const Mask& mask) {
  uint32_t out = 0;
  auto* bytes = reinterpret_cast<const unsigned char*>(&mask);
  for (size_t i = 0; i < sizeof mask; ++i) out += static_cast<uint32_t>(std::popcount(bytes[i]));
  return out;
}

address address_of(const ifaddrs& it) {
  char text[INET6_ADDRSTRLEN] = "";
  if (it.ifa_addr->sa_family == AF_INET) {
    auto& ip = reinterpret_cast<const sockaddr_in*>(it.ifa_addr)->sin_addr;
    auto first = reinterpret_cast<const unsigned char*>(&ip);
    ::inet_ntop(AF_INET, &ip, text, sizeof text);
    auto* scope = first[0] == 127 ? "local" : first[0] == 169 && first[1] == 254 ? "link" : "global";
    return {"inet", text, scope, bits_of(reinterpret_cast<const sockaddr_in*>(it.ifa_netmask)->sin_addr)};
  }
  auto& ip = reinterpret_cast<const sockaddr_in6*>(it.ifa_addr)->sin6_addr;
  ::inet_ntop(AF_INET6, &ip, text, sizeof text);
  auto* scope = IN6_IS_ADDR_LOOPBACK(&ip) ? "local" : IN6_IS_ADDR_LINKLOCAL(&ip) ? "link" : "global";
  return {"inet6", text, scope, bits_of(reinterpret_cast<const sockaddr_in6*>(it.ifa_netmask)->sin6_addr)};
}

std::map<std::string, card> find_cards() {
  std::map<std::string, card> out;
  ifaddrs* all = nullptr;
  if (::getifaddrs(&all) != 0) return out;
  for (auto* each = all; each != nullptr; each = each->ifa_next) {
    auto& found = out[each->ifa_name];
    found.flags |= each->ifa_flags;
    if (each->ifa_addr == nullptr || each->ifa_netmask == nullptr) continue;
    auto family = each->ifa_addr->sa_family;
    if (family == AF_INET || family == AF_INET6) found.addresses.push_back(address_of(*each));
  }
  ::freeifaddrs(all);
  return out;
}

void fill_card(Report::Card::Builder out, const std::string& name, const card& from) {
  auto folder = "/sys/class/net/" + name;
  auto line = [&](const char* file) {
    auto text = read_small(folder + file);
    return text.substr(0, text.find('\n'));
  };
  auto count = [&](const char* file) { return std::strtoull(line(file).c_str(), nullptr, 10); };
  out.setName(name);
  out.setHwaddr(from.flags & IFF_LOOPBACK ? "" : line("/address"));
  out.setState(from.flags & IFF_UP ? "up" : "down");
  out.setType(from.flags & IFF_LOOPBACK      ? "loopback"
              : from.flags & IFF_POINTOPOINT ? "point-to-point"
              : from.flags & IFF_BROADCAST   ? "broadcast"
                                             : "unknown");
  out.setMtu(static_cast<uint32_t>(count("/mtu")));
  out.setReceived(count("/statistics/rx_bytes"));
  out.setSent(count("/statistics/tx_bytes"));
  out.setPacketsReceived(count("/statistics/rx_packets"));
  out.setPacketsSent(count("/statistics/tx_packets"));
  out.setErrorsReceived(count("/statistics/rx_errors"));
  out.setErrorsSent(count("/statistics/tx_errors"));
  out.setDropsReceived(count("/statistics/rx_dropped"));
  out.setDropsSent(count("/statistics/tx_dropped"));
  auto list = out.initAddresses(static_cast<unsigned>(from.addresses.size()));
  for (unsigned i = 0; i < list.size(); ++i) {
    list[i].setFamily(from.addresses[i].family);
    list[i].setAddress(from.addresses[i].text);
    list[i].setScope(from.addresses[i].scope);
    list[i].setPrefix(from.addresses[i].prefix);
  }
}

void fill_memory(Report::Builder out) {
  auto memory = read_small("/proc/meminfo");
  auto total = kilobytes(memory, "MemTotal:");
  out.setMemoryTotal(total);
  out.setMemoryUsed(total - kilobytes(memory, "MemAvailable:"));
  out.setSwapUsed(kilobytes(memory, "SwapTotal:") - kilobytes(memory, "SwapFree:"));
}

void fill_system(Report::Builder out) {
  auto release = read_small("/etc/os-release");
  if (release.empty()) release = read_small("/usr/lib/os-release");
  out.setOs(unquoted(value_of(release, "NAME=")));
  out.setOsVersion(unquoted(value_of(release, "VERSION_ID=")));
  utsname kernel{};
  if (::uname(&kernel) == 0) out.setKernel(kernel.release), out.setHostname(kernel.nodename);
  struct statvfs root {};
  if (::statvfs("/", &root) != 0) return;
  out.setRootTotal(static_cast<int64_t>(root.f_blocks * root.f_frsize));
  out.setRootUsed(static_cast<int64_t>((root.f_blocks - root.f_bfree) * root.f_frsize));
}

} // namespace

void fill_report(Report::Builder out) {
  out.setProcesses(count_processes());
  fill_memory(out);
  fill_system(out);
  auto cards = find_cards();
  auto list = out.initCards(static_cast<unsigned>(cards.size()));
  unsigned i = 0;
  for (auto& [name, from] : cards) fill_card(list[i++], name, from);
}

} // namespace troupe::guest
