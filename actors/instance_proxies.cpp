#include "actors/instance_proxies.hpp"

#include "actors/device_options.hpp"
#include "actors/instance_tpms.hpp"
#include "runtime/process.hpp"

#include <array>
#include <csignal>
#include <fcntl.h>
#include <filesystem>
#include <poll.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace troupe {
namespace {

constexpr int ready_fd = 3, end_wait_ms = 5000;

std::vector<std::string> command_of(services& with, const live_instance& it, const std::string& name,
                                    const config_map& device) {
  auto option = [&](std::string_view key) { return std::string{option_of(device, key)}; };
  auto programs = std::filesystem::read_symlink("/proc/self/exe").parent_path().string();
  bool inside = option("bind") != "host";
  return {programs + "/troupe-proxy",
          with.dir.path + " " + it.key + " " + name, // tells whose it is, and is like no other's
          std::to_string(it.leader),
          inside ? "inside" : "host",
          option("listen"),
          option("connect"),
          is_true(option("proxy_protocol")) ? "header" : "plain",
          option("uid") + ":" + option("gid") + ":" + option("mode"),
          option("security.uid") + ":" + option("security.gid"),
          std::to_string(it.ids.size > 0 ? it.ids.host : 0)};
}

// One line: empty when it listens, else why it cannot.
outcome<void> await_ready(int pipe) {
  std::string line;
  std::array<char, 512> part{};
  for (ssize_t n = 0; (n = read(pipe, part.data(), part.size())) > 0;) line.append(part.data(), static_cast<size_t>(n));
  if (line == "\n") return {};
  while (!line.empty() && line.back() == '\n') line.pop_back();
  return fail(fault::backend_failed, line.empty() ? "the forwarder ended at once" : line);
}

} // namespace

bool has_forwarder(const config_map& device) {
  return is_tpm(device) || (get(device, "type") == "proxy" && !is_true(get(device, "nat")));
}

outcome<forwarder_ptr> start_forwarder(services& with, const live_instance& for_whom, const std::string& name,
                                       const config_map& device, std::function<void()> ended) {
  if (is_tpm(device)) return start_tpm(with, for_whom, name, device, std::move(ended));
  child_spec spec;
  spec.command = command_of(with, for_whom, name, device);
  if (auto pid = find_process(spec.command))
    if (auto found = adopt(with.io, pid, process_start_time(pid), ended)) return forwarder_ptr{std::move(*found)};
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) < 0) return fail_errno(errno, "Cannot make a pipe");
  unique_fd read_end{ends[0]}, write_end{ends[1]};
  spec.descriptors = {{write_end.get(), ready_fd}};
  auto started = spawn(with.io, spec, [ended](child_exit) { ended(); });
  if (!started) return tl::unexpected{started.error()};
  write_end.reset();
  if (auto ready = await_ready(read_end.get()); !ready)
    return fail(ready.error().code, "Device \"" + name + "\": " + ready.error().message);
  return forwarder_ptr{std::move(*started)};
}

void end_forwarder(const forwarder_ptr& process) {
  unique_fd pidfd{static_cast<int>(syscall(SYS_pidfd_open, process->pid(), 0))};
  process->signal(SIGTERM);
  pollfd end{pidfd.get(), POLLIN, 0};
  if (pidfd) poll(&end, 1, end_wait_ms);
}

} // namespace troupe
