#include "net/cidr.hpp"
#include "net/dhcp.hpp"
#include "net/dhcp_files.hpp"
#include "net/names.hpp"

#include <algorithm>
#include <cerrno>
#include <dirent.h>
#include <fcntl.h>
#include <memory>
#include <sys/stat.h>
#include <unistd.h>

namespace troupe {
namespace {

/// dnsmasq skips names that begin with a dot: the place to write a file before it gets its real name.
std::string unfinished(const std::string& key) { return "." + key; }

bool is_key(const std::string& key) {
  constexpr std::string_view more = "._-";
  if (key.empty() || key.size() > 200 || key[0] == '.') return false;
  return std::all_of(key.begin(), key.end(), [more](char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || more.find(c) != more.npos;
  });
}

/// dnsmasq tells the fields of a line by their look: one that begins with a digit would be a lease time.
bool is_hostname(const std::string& text) { return is_host_label(text) && !(text[0] >= '0' && text[0] <= '9'); }

outcome<void> check(const dhcp_host& host) {
  if (!is_key(host.key)) return fail(fault::invalid, "The name of a DHCP host's file is malformed");
  if (!is_hwaddr(host.hwaddr)) return fail(fault::invalid, "The MAC address of a DHCP host is malformed", host.key);
  if (!host.hostname.empty() && !is_hostname(host.hostname))
    return fail(fault::invalid, "The name of a DHCP host is malformed", host.key);
  if (!host.ipv4.empty() && !parse_ip(host.ipv4, AF_INET))
    return fail(fault::invalid, "The IPv4 address of a DHCP host is malformed", host.key);
  if (!host.ipv6.empty() && !parse_ip(host.ipv6, AF_INET6))
    return fail(fault::invalid, "The IPv6 address of a DHCP host is malformed", host.key);
  return {};
}

std::string to_line(const dhcp_host& host) {
  std::string out = lower(host.hwaddr);
  if (!host.ipv4.empty()) out += "," + host.ipv4;
  if (!host.ipv6.empty()) out += ",[" + host.ipv6 + "]";
  if (!host.hostname.empty()) out += "," + to_dnsmasq_name(host.hostname);
  return out + "\n";
}

/// The inverse of `to_line`; a damaged line gives a host without hwaddr.
dhcp_host from_line(std::string key, std::string_view line) {
  dhcp_host out;
  out.key = std::move(key);
  if (!line.ends_with('\n')) return out; // cut off
  line.remove_suffix(1);
  for (auto word : split_words(line, ',')) {
    if (out.hwaddr.empty())
      out.hwaddr = word;
    else if (word.starts_with('[') && word.ends_with(']'))
      out.ipv6 = word.substr(1, word.size() - 2);
    else if (parse_ip(word, AF_INET))
      out.ipv4 = word;
    else
      out.hostname = from_dnsmasq_name(word);
  }
  if (!check(out)) out = {out.key, {}, {}, {}, {}};
  return out;
}

outcome<unique_fd> open_hosts(const std::string& dir) {
  unique_fd fd{open(hosts_path(dir).c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)};
  if (!fd) return fail_errno(errno, "Cannot open " + hosts_path(dir));
  return fd;
}

outcome<void> write_unfinished(int hosts, const dhcp_host& host, const std::string& line, gid_t group) {
  auto name = unfinished(host.key);
  unique_fd fd{openat(hosts, name.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0640)};
  bool written = fd && fchown(fd.get(), 0, group) == 0 && fchmod(fd.get(), 0640) == 0 &&
                 write(fd.get(), line.data(), line.size()) == static_cast<ssize_t>(line.size());
  if (written) return {};
  int number = errno;
  unlinkat(hosts, name.c_str(), 0);
  return fail_errno(number, "Cannot write the DHCP host file " + host.key);
}

} // namespace

outcome<dhcp_notice> add_dhcp_host(const std::string& dir, const dhcp_host& host) {
  if (auto ok = check(host); !ok) return tl::unexpected{ok.error()};
  auto account = find_dhcp_account();
  if (!account) return tl::unexpected{account.error()};
  if (auto ok = prepare_dhcp_dir(dir, *account); !ok) return tl::unexpected{ok.error()};
  auto hosts = open_hosts(dir);
  if (!hosts) return tl::unexpected{hosts.error()};

  auto line = to_line(host);
  auto found = read_small_file(hosts->get(), host.key);
  if (found && *found == line) return dhcp_notice::none;
  if (!found && found.error().code != fault::not_found) return tl::unexpected{found.error()};
  if (auto ok = write_unfinished(hosts->get(), host, line, account->gid); !ok) return tl::unexpected{ok.error()};
  if (renameat(hosts->get(), unfinished(host.key).c_str(), hosts->get(), host.key.c_str()) != 0)
    return fail_errno(errno, "Cannot write the DHCP host file " + host.key);
  return found ? dhcp_notice::sighup : dhcp_notice::none;
}

outcome<dhcp_notice> remove_dhcp_host(const std::string& dir, const std::string& key) {
  if (!is_key(key)) return fail(fault::invalid, "The name of a DHCP host's file is malformed");
  auto hosts = open_hosts(dir);
  if (!hosts && hosts.error().code == fault::not_found) return dhcp_notice::none;
  if (!hosts) return tl::unexpected{hosts.error()};
  auto notice = dhcp_notice::none;
  if (unlinkat(hosts->get(), key.c_str(), 0) == 0)
    notice = dhcp_notice::sighup;
  else if (errno != ENOENT)
    return fail_errno(errno, "Cannot remove the DHCP host file " + key);
  if (unlinkat(hosts->get(), unfinished(key).c_str(), 0) != 0 && errno != ENOENT)
    return fail_errno(errno, "Cannot remove the DHCP host file " + key);
  return notice;
}

outcome<std::vector<dhcp_host>> list_dhcp_hosts(const std::string& dir) {
  std::vector<dhcp_host> out;
  auto hosts = open_hosts(dir);
  if (!hosts && hosts.error().code == fault::not_found) return out;
  if (!hosts) return tl::unexpected{hosts.error()};
  std::unique_ptr<DIR, int (*)(DIR*)> stream{fdopendir(hosts->get()), closedir};
  if (!stream) return fail_errno(errno, "Cannot read " + hosts_path(dir));
  int fd = hosts->release(); // closed with the stream
  while (auto* entry = readdir(stream.get())) {
    std::string key = entry->d_name;
    if (!is_key(key)) continue;
    auto line = read_small_file(fd, key);
    if (!line && line.error().code == fault::not_found) continue; // removed meanwhile
    if (!line) return tl::unexpected{line.error()};
    out.push_back(from_line(std::move(key), *line));
  }
  std::sort(out.begin(), out.end(), [](auto& a, auto& b) { return a.key < b.key; });
  return out;
}

} // namespace troupe
