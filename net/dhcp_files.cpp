#include "net/dhcp_files.hpp"

#include <array>
#include <cerrno>
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <sys/stat.h>
#include <unistd.h>

namespace troupe {
namespace {

constexpr size_t file_size_max = 16 << 20;

constexpr struct { std::string_view plain, written; } commands[] = {{"ignore", "Ignore"}, {"infinite", "Infinite"}};

outcome<unique_fd> open_own_dir(const std::string& path, mode_t mode, gid_t group) {
  if (mkdir(path.c_str(), mode) != 0 && errno != EEXIST) return fail_errno(errno, "Cannot create " + path);
  unique_fd fd{open(path.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)};
  struct stat facts {};
  if (!fd || fstat(fd.get(), &facts) != 0) return fail_errno(errno, "Cannot open " + path);
  bool owned = facts.st_uid == 0 && facts.st_gid == group;
  if (!owned && fchown(fd.get(), 0, group) != 0) return fail_errno(errno, "Cannot change the owner of " + path);
  // Also against the umask.
  if ((facts.st_mode & 07777) != mode && fchmod(fd.get(), mode) != 0)
    return fail_errno(errno, "Cannot change the mode of " + path);
  return fd;
}

} // namespace

outcome<dhcp_account> find_dhcp_account() {
  std::array<char, 4096> buffer;
  for (const char* user : {"dnsmasq", "nobody"}) {
    passwd entry{}, *found = nullptr;
    if (getpwnam_r(user, &entry, buffer.data(), buffer.size(), &found) != 0 || found == nullptr) continue;
    dhcp_account out{user, {}, entry.pw_gid};
    group row{}, *group_found = nullptr;
    if (getgrgid_r(out.gid, &row, buffer.data(), buffer.size(), &group_found) != 0 || group_found == nullptr) continue;
    out.group = row.gr_name;
    return out;
  }
  return fail(fault::unsupported, "The host has neither a user dnsmasq nor a user nobody");
}

std::string lease_path(const std::string& dir) { return dir + "/dnsmasq.leases"; }
std::string hosts_path(const std::string& dir) { return dir + "/dnsmasq.hosts"; }

outcome<void> prepare_dhcp_dir(const std::string& dir, const dhcp_account& account) {
  if (auto fd = open_own_dir(dir, 0710, account.gid); !fd) return tl::unexpected{fd.error()};
  if (auto fd = open_own_dir(hosts_path(dir), 0750, account.gid); !fd) return tl::unexpected{fd.error()};
  unique_fd leases{open(lease_path(dir).c_str(), O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600)};
  if (!leases) return fail_errno(errno, "Cannot create " + lease_path(dir));
  return {};
}

outcome<std::string> read_small_file(int at, const std::string& path) {
  unique_fd fd{openat(at, path.c_str(), O_RDONLY | O_NOFOLLOW | O_CLOEXEC)};
  if (!fd) return fail_errno(errno, "Cannot open " + path);
  std::string out;
  std::array<char, 8192> chunk;
  for (;;) {
    ssize_t size = read(fd.get(), chunk.data(), chunk.size());
    if (size < 0 && errno == EINTR) continue;
    if (size < 0) return fail_errno(errno, "Cannot read " + path);
    if (size == 0) return out;
    out.append(chunk.data(), static_cast<size_t>(size));
    if (out.size() > file_size_max) return fail(fault::too_large, path + " is larger than 16 MiB");
  }
}

std::string to_dnsmasq_name(std::string_view name) {
  for (auto& row : commands)
    if (name == row.plain) name = row.written;
  return std::string{name};
}

std::string from_dnsmasq_name(std::string_view name) {
  for (auto& row : commands)
    if (name == row.written) name = row.plain;
  return std::string{name};
}

std::vector<std::string_view> split_words(std::string_view text, char separator) {
  std::vector<std::string_view> out;
  while (!text.empty()) {
    auto end = text.find(separator);
    if (end != 0) out.push_back(text.substr(0, end));
    if (end == text.npos) break;
    text.remove_prefix(end + 1);
  }
  return out;
}

} // namespace troupe
