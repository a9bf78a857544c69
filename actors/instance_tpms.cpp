#include "actors/instance_tpms.hpp"

#include "actors/device_options.hpp"
#include "backends/host/virtual_tpm.hpp"
#include "runtime/process.hpp"

#include <cerrno>
#include <csignal>
#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <poll.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace troupe {
namespace {

namespace fs = std::filesystem;

constexpr char program[] = "/usr/bin/swtpm";
constexpr int tpm_fd = 3, state_fd = 4, end_wait_ms = 5000;
constexpr uid_t nobody = 65534; // for privileged instances: a TPM needs no rights

/// Beside the root file system in the instance's volume: `state` is the process's, `nodes` ours.
outcome<fs::path> folder_of(services& with, const std::string& key, const std::string& name) {
  std::error_code none;
  for (auto& pool : fs::directory_iterator{with.dir.storage_pools, none})
    if (auto volume = pool.path() / "containers" / key; fs::is_directory(volume, none)) return volume / ("tpm." + name);
  return fail(fault::not_found, "The instance has no volume");
}

// Its log's prefix says whose it is. Its state it finds by descriptor: the folders above are not open to it.
std::vector<std::string> command_of(services& with, const std::string& key, const std::string& name, uid_t runs_as) {
  return {program,
          "chardev",
          "--tpm2",
          "--tpmstate",
          "dir=/proc/self/fd/" + std::to_string(state_fd),
          "--fd",
          std::to_string(tpm_fd),
          "--runas",
          std::to_string(runs_as),
          "--flags",
          "not-need-init",
          "--locality",
          "allow-set-locality", // as the kernel's proxy wants it
          "--log",
          "file=/dev/null,level=0,prefix=troupe-" + with.dir.id + "-" + key + "." + name};
}

uid_t user_of(const live_instance& it) { return it.ids.size > 0 ? it.ids.host : nobody; }

outcome<unique_fd> open_state(const fs::path& folder, uid_t owner) {
  auto state = folder / "state";
  std::error_code problem;
  fs::create_directories(state, problem);
  if (problem) return fail(fault::backend_failed, "Cannot make " + state.string() + ": " + problem.message());
  unique_fd fd{::open(state.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)};
  if (!fd || ::fchmod(fd.get(), 0700) < 0 || ::fchown(fd.get(), owner, owner) < 0)
    return fail_errno(errno, "Cannot open " + state.string());
  // The instance may have had other ids before.
  for (auto& file : fs::directory_iterator{state, problem})
    if (::fchownat(fd.get(), file.path().filename().c_str(), owner, owner, AT_SYMLINK_NOFOLLOW) < 0)
      return fail_errno(errno, "Cannot give away " + file.path().string());
  return fd;
}

void keep(const fs::path& folder, const tpm_numbers& n) {
  std::ofstream{folder / "nodes"} << n.major << ' ' << n.minor << ' ' << n.manager_major << ' ' << n.manager_minor
                                  << '\n';
}

std::optional<tpm_numbers> kept(const fs::path& folder) {
  std::ifstream in{folder / "nodes"};
  tpm_numbers n;
  if (in >> n.major >> n.minor >> n.manager_major >> n.manager_minor) return n;
  return std::nullopt;
}

std::vector<node_plan> nodes_of(const std::string& name, const config_map& device, const tpm_numbers& n) {
  std::vector<node_plan> out;
  auto add = [&](std::string_view option, uint32_t major, uint32_t minor) {
    auto path = get(device, option);
    if (!path.empty()) out.push_back({name, std::string{path}, 'c', major, minor, 0600, 0, 0});
  };
  add("path", n.major, n.minor);
  add("pathrm", n.manager_major, n.manager_minor);
  return out;
}

outcome<void> take_nodes(services& with, const live_instance& from, const std::vector<node_plan>& nodes) {
  for (auto& node : nodes)
    if (auto done = with.containers.unplug(from, node); !done) return done;
  return {};
}

void end_process(const std::vector<std::string>& command) {
  auto pid = find_process(command);
  unique_fd process{pid > 0 ? static_cast<int>(syscall(SYS_pidfd_open, pid, 0)) : -1};
  if (!process || find_process(command) != pid) return;
  syscall(SYS_pidfd_send_signal, process.get(), SIGTERM, nullptr, 0);
  pollfd end{process.get(), POLLIN, 0};
  poll(&end, 1, end_wait_ms);
}

outcome<std::shared_ptr<child>> spawn_tpm(services& with, const fs::path& folder, uid_t owner,
                                          const std::vector<std::string>& command, const std::function<void()>& ended) {
  auto tpm = make_virtual_tpm();
  if (!tpm) return tl::unexpected{tpm.error()};
  auto state = open_state(folder, owner);
  if (!state) return tl::unexpected{state.error()};
  child_spec spec;
  spec.command = command;
  spec.descriptors = {{tpm->end.get(), tpm_fd}, {state->get(), state_fd}};
  auto started = spawn(with.io, spec, [ended](child_exit) { ended(); });
  if (!started && started.error().code == fault::not_found)
    return fail(fault::unsupported, "There is no " + std::string{program} + " on this host (Debian's package swtpm)");
  if (!started) return tl::unexpected{started.error()};
  tpm->end.reset(); // so that the kernel's TPM goes with the process
  auto numbers = await_tpm(*tpm);
  if (!numbers) {
    (*started)->signal(SIGKILL);
    return tl::unexpected{numbers.error()};
  }
  keep(folder, *numbers);
  return std::shared_ptr<child>{std::move(*started)};
}

} // namespace

bool is_tpm(const config_map& device) { return get(device, "type") == "tpm"; }

outcome<std::shared_ptr<child>> start_tpm(services& with, const live_instance& for_whom, const std::string& name,
                                          const config_map& device, std::function<void()> ended) {
  auto named = [&](const error& why) { return fail(why.code, "Device \"" + name + "\": " + why.message); };
  auto folder = folder_of(with, for_whom.key, name);
  if (!folder) return named(folder.error());
  auto command = command_of(with, for_whom.key, name, user_of(for_whom));
  auto before = kept(*folder);
  if (before)
    if (auto done = take_nodes(with, for_whom, nodes_of(name, device, *before)); !done)
      return tl::unexpected{done.error()};
  std::shared_ptr<child> process;
  if (auto pid = before ? find_process(command) : 0)
    if (auto found = adopt(with.io, pid, process_start_time(pid), ended)) process = std::move(*found);
  if (!process) {
    end_process(command); // one that nobody had written down
    auto started = spawn_tpm(with, *folder, user_of(for_whom), command, ended);
    if (!started) return named(started.error());
    process = std::move(*started);
  }
  for (auto& node : nodes_of(name, device, kept(*folder).value_or(tpm_numbers{})))
    if (auto done = with.containers.plug(for_whom, node); !done) {
      process->signal(SIGTERM);
      return tl::unexpected{done.error()};
    }
  return process;
}

outcome<void> remove_tpm(services& with, const live_instance& from, const std::string& name, const config_map& device) {
  auto folder = folder_of(with, from.key, name);
  auto numbers = folder ? kept(*folder) : std::nullopt;
  if (numbers)
    if (auto done = take_nodes(with, from, nodes_of(name, device, *numbers)); !done) return done;
  end_process(command_of(with, from.key, name, user_of(from)));
  return {};
}

void end_tpms(services& with, const std::string& key, const device_map& devices) {
  for (auto& [name, device] : devices) {
    if (!is_tpm(device)) continue;
    auto folder = folder_of(with, key, name);
    struct stat owner {};
    if (folder && stat((*folder / "state").c_str(), &owner) == 0)
      end_process(command_of(with, key, name, owner.st_uid));
  }
}

} // namespace troupe
