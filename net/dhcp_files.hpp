#pragma once

#include "messages/error.hpp"
#include "messages/unique_fd.hpp"

#include <string>
#include <string_view>
#include <sys/types.h>
#include <vector>

namespace troupe {

/// The unprivileged account dnsmasq runs as: "dnsmasq" where the distribution has made it, else "nobody".
struct dhcp_account {
  std::string user, group;
  gid_t gid = 0;
};
outcome<dhcp_account> find_dhcp_account();

std::string lease_path(const std::string& dir);
std::string hosts_path(const std::string& dir);

/// Makes DIR, DIR/dnsmasq.hosts and an empty lease file, with their owners and modes; what is right is left alone.
outcome<void> prepare_dhcp_dir(const std::string& dir, const dhcp_account& account);

/// A whole small file below `at` (or AT_FDCWD); not_found when there is none; refuses symbolic links and more than 16
/// MiB.
outcome<std::string> read_small_file(int at, const std::string& path);
/// Two words of dnsmasq's host files are commands to it, "ignore" and "infinite", in lower case only. An instance may
/// have them as its name, and DNS does not care for case: they are written with a capital letter and read back without.
std::string to_dnsmasq_name(std::string_view name);
std::string from_dnsmasq_name(std::string_view name);

/// The non-empty parts of a text.
std::vector<std::string_view> split_words(std::string_view text, char separator);

} // namespace troupe
