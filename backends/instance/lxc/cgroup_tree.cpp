#include "backends/instance/lxc/cgroup_tree.hpp"

#include "backends/instance/lxc/cgroup_names.hpp"
#include "backends/instance/lxc/proc_facts.hpp"
#include "messages/unique_fd.hpp"

#include <cerrno>
#include <cstring>
#include <dirent.h>
#include <fcntl.h>
#include <memory>
#include <sys/stat.h>
#include <unistd.h>

namespace troupe::lxc {
namespace {

struct close_directory {
  void operator()(DIR* d) const noexcept { ::closedir(d); }
};

/// Removes a group and all below it, as far as they are empty of processes.
void prune(const std::string& path) {
  if (::rmdir(path.c_str()) == 0 || errno == ENOENT) return;
  std::unique_ptr<DIR, close_directory> directory{::opendir(path.c_str())};
  if (!directory) return;
  while (auto* entry = ::readdir(directory.get()))
    if (entry->d_type == DT_DIR && std::strcmp(entry->d_name, ".") != 0 && std::strcmp(entry->d_name, "..") != 0)
      prune(path + "/" + entry->d_name);
  ::rmdir(path.c_str());
}

std::string mount_point(const std::string& controllers) {
  const std::string top = "/sys/fs/cgroup";
  if (controllers.empty()) return ::access((top + "/cgroup.controllers").c_str(), F_OK) == 0 ? top : top + "/unified";
  return top + "/" + (controllers.starts_with("name=") ? controllers.substr(5) : controllers);
}

} // namespace

cgroup_tree::cgroup_tree(std::string prefix) : prefix_{std::move(prefix)} {
  auto text = read_small("/proc/1/cgroup");
  for (size_t at = 0; at < text.size();) {
    auto end = text.find('\n', at);
    auto line = text.substr(at, end - at);
    at = end == std::string::npos ? text.size() : end + 1;
    auto first = line.find(':'), second = line.find(':', first + 1);
    if (second == std::string::npos) continue;
    auto controllers = line.substr(first + 1, second - first - 1), group = line.substr(second + 1);
    if (group.ends_with("/init.scope")) group.resize(group.size() - std::strlen("/init.scope"));
    auto mounted = mount_point(controllers);
    if (::access(mounted.c_str(), F_OK) != 0) continue;
    hierarchies_.push_back({controllers.empty() ? "" : "," + controllers + ",", mounted + (group == "/" ? "" : group)});
  }
}

std::string cgroup_tree::path(const std::string& key, std::string_view controller) const {
  for (const auto& h : hierarchies_)
    if (controller.empty() ? h.controllers.empty()
                           : h.controllers.find("," + std::string{controller} + ",") != std::string::npos)
      return h.base + "/" + payload_cgroup(prefix_, key);
  return {};
}

std::optional<std::string> cgroup_tree::read(const std::string& key, std::string_view controller,
                                             const char* file) const {
  auto group = path(key, controller);
  if (group.empty()) return std::nullopt;
  auto text = read_small(group + "/" + file);
  if (text.empty()) return std::nullopt;
  return text;
}

bool cgroup_tree::write(const std::string& key, std::string_view controller, const char* file,
                        std::string_view value) const {
  auto group = path(key, controller);
  unique_fd fd{group.empty() ? -1 : ::open((group + "/" + file).c_str(), O_WRONLY | O_CLOEXEC)};
  return fd && ::write(fd.get(), value.data(), value.size()) == static_cast<ssize_t>(value.size());
}

bool cgroup_tree::frozen(const std::string& key) const {
  if (auto events = read(key, "", "cgroup.events"); events && events->find("frozen 1") != std::string::npos)
    return true;
  auto state = read(key, "freezer", "freezer.state");
  return state && !state->starts_with("THAWED");
}

void cgroup_tree::remove(const std::string& key) const {
  for (const auto& h : hierarchies_) {
    prune(h.base + "/" + payload_cgroup(prefix_, key));
    prune(h.base + "/" + monitor_cgroup(prefix_, key));
  }
}

void cgroup_tree::remove_all() const {
  for (const auto& h : hierarchies_) {
    ::rmdir((h.base + "/" + prefix_ + "/lxc.pivot").c_str());
    ::rmdir((h.base + "/" + prefix_).c_str());
  }
}

} // namespace troupe::lxc
