#include "backends/instance/lxc/cgroup_tree.hpp"

#include "backends/instance/lxc/cgroup_names.hpp"
#include "backends/instance/lxc/proc_facts.hpp"
#include "messages/unique_fd.hpp"

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <dirent.h>
#include <fcntl.h>
#include <memory>
#include <set>
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

void add_processes(const std::string& group, std::set<pid_t>& to) {
  auto text = read_small(group + "/cgroup.procs");
  for (size_t at = 0; at < text.size(); at = std::min(text.find('\n', at), text.size() - 1) + 1)
    if (auto pid = static_cast<pid_t>(std::strtol(text.c_str() + at, nullptr, 10)); pid > 0) to.insert(pid);
  std::unique_ptr<DIR, close_directory> directory{::opendir(group.c_str())};
  while (auto* entry = directory ? ::readdir(directory.get()) : nullptr)
    if (entry->d_type == DT_DIR && std::strcmp(entry->d_name, ".") != 0 && std::strcmp(entry->d_name, "..") != 0)
      add_processes(group + "/" + entry->d_name, to);
}

std::string mount_point(const std::string& controllers) {
  const std::string top = "/sys/fs/cgroup";
  if (controllers.empty()) return ::access((top + "/cgroup.controllers").c_str(), F_OK) == 0 ? top : top + "/unified";
  return top + "/" + (controllers.starts_with("name=") ? controllers.substr(5) : controllers);
}

} // namespace

std::vector<cgroup_place> read_cgroups(const std::string& process) {
  std::vector<cgroup_place> places;
  auto text = read_small("/proc/" + process + "/cgroup");
  for (size_t at = 0; at < text.size();) {
    auto end = text.find('\n', at);
    auto line = text.substr(at, end - at);
    at = end == std::string::npos ? text.size() : end + 1;
    auto first = line.find(':'), second = line.find(':', first + 1);
    if (second == std::string::npos) continue;
    auto controllers = line.substr(first + 1, second - first - 1), group = line.substr(second + 1);
    auto mounted = mount_point(controllers);
    if (::access((mounted + "/cgroup.procs").c_str(), F_OK) != 0) continue;
    places.push_back({controllers.empty() ? "" : "," + controllers + ",", mounted + (group == "/" ? "" : group)});
  }
  return places;
}

void enter_cgroups(const std::vector<cgroup_place>& places) {
  for (const auto& place : places) {
    unique_fd fd{::open((place.directory + "/cgroup.procs").c_str(), O_WRONLY | O_CLOEXEC)};
    if (fd && ::write(fd.get(), "0", 1) != 1) continue; // 0: the writer
  }
}

cgroup_tree::cgroup_tree(std::string prefix) : prefix_{std::move(prefix)}, hierarchies_{read_cgroups("1")} {
  constexpr std::string_view own = "/init.scope"; // systemd's own leaf; liblxc goes one up from there
  for (auto& h : hierarchies_)
    if (h.directory.ends_with(own)) h.directory.resize(h.directory.size() - own.size());
}

std::string cgroup_tree::path(const std::string& key, std::string_view controller) const {
  for (const auto& h : hierarchies_)
    if (controller.empty() ? h.controllers.empty()
                           : h.controllers.find("," + std::string{controller} + ",") != std::string::npos)
      return h.directory + "/" + payload_cgroup(prefix_, key);
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

void cgroup_tree::thaw(const std::string& key) const {
  if (auto state = read(key, "freezer", "freezer.state"); state && !state->starts_with("THAWED"))
    write(key, "freezer", "freezer.state", "THAWED");
}

std::vector<pid_t> cgroup_tree::processes(const std::string& key, group_part part) const {
  std::set<pid_t> found;
  for (const auto& h : hierarchies_) {
    add_processes(h.directory + "/" + payload_cgroup(prefix_, key), found);
    if (part == group_part::all) add_processes(h.directory + "/" + monitor_cgroup(prefix_, key), found);
  }
  return {found.begin(), found.end()};
}

void cgroup_tree::put_aside(const std::vector<pid_t>& processes) {
  for (const auto& place : read_cgroups("self")) {
    unique_fd file{::open((place.directory + "/cgroup.procs").c_str(), O_WRONLY | O_CLOEXEC)};
    for (auto pid : processes) {
      auto text = std::to_string(pid);
      if (file && ::write(file.get(), text.data(), text.size()) < 0) continue; // it has ended after all
    }
  }
}

void cgroup_tree::remove(const std::string& key) const {
  for (const auto& h : hierarchies_) {
    prune(h.directory + "/" + payload_cgroup(prefix_, key));
    prune(h.directory + "/" + monitor_cgroup(prefix_, key));
  }
}

void cgroup_tree::remove_all() const {
  for (const auto& h : hierarchies_) {
    ::rmdir((h.directory + "/" + prefix_ + "/lxc.pivot").c_str());
    ::rmdir((h.directory + "/" + prefix_).c_str());
  }
}

} // namespace troupe::lxc
