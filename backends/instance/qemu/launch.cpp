#include "backends/instance/qemu/launch.hpp"

#include "backends/image/helper_call.hpp"
#include "backends/instance/lxc/proc_facts.hpp"
#include "backends/instance/qemu/helper/start_order.hpp"

#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <sstream>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>

namespace troupe::qemu {
namespace {

constexpr size_t output_max = 64 << 10; // bytes
constexpr int backlog = 8;

struct address {
  unique_fd directory;
  sockaddr_un name{};
};

outcome<address> address_in(const std::string& directory, const char* name) {
  address out;
  out.directory.reset(::open(directory.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!out.directory) return fail_errno(errno, "Cannot open " + directory);
  auto path = "/proc/self/fd/" + std::to_string(out.directory.get()) + "/" + name;
  out.name.sun_family = AF_UNIX;
  std::strncpy(out.name.sun_path, path.c_str(), sizeof out.name.sun_path - 1);
  return out;
}

const sockaddr* plain(const sockaddr_un& name) { return reinterpret_cast<const sockaddr*>(&name); }

} // namespace

std::optional<machine_process> read_process(const std::string& directory) {
  std::istringstream text{lxc::read_small(directory + "/" + pid_file)};
  machine_process found;
  std::string boot, now = lxc::read_small("/proc/sys/kernel/random/boot_id");
  if (!(text >> found.pid >> found.start >> boot) || found.pid <= 0 || !now.starts_with(boot)) return std::nullopt;
  auto facts = lxc::read_proc(found.pid);
  if (!facts.alive() || facts.start != found.start) return std::nullopt;
  return found;
}

outcome<void> probe(const std::string& helper) {
  auto call = helper_call::start({"KVM probe", {helper, "probe"}});
  if (!call) return tl::unexpected{call.error()};
  auto found = call->wait({});
  if (!found) return tl::unexpected{found.error()};
  return {};
}

outcome<machine_process> launch(const std::string& helper, bool kvm, const std::vector<std::string>& groups,
                                machine_command command, const std::string& directory, const unique_fd& output) {
  helper_call::order what;
  what.noun = "start of QEMU";
  what.words = {helper, "start", kvm ? "kvm" : "tcg", std::to_string(groups.size())};
  what.words.insert(what.words.end(), groups.begin(), groups.end());
  what.words.insert(what.words.end(), command.words.begin(), command.words.end());
  unique_fd place{::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
  if (!place) return fail_errno(errno, "Cannot open " + directory);
  auto printed = same_as(output.get(), output_descriptor);
  if (!printed) return tl::unexpected{printed.error()};
  what.descriptors.push_back({std::move(place), directory_descriptor});
  what.descriptors.push_back(std::move(*printed));
  for (size_t i = 0; i < command.descriptors.size(); ++i)
    what.descriptors.push_back({std::move(command.descriptors[i]), first_descriptor + static_cast<int>(i)});
  auto call = helper_call::start(std::move(what));
  if (!call) return tl::unexpected{call.error()};
  if (auto done = call->wait({}); !done) return tl::unexpected{done.error()};
  // One that has ended already said why; the caller sees that when he talks to it.
  return read_process(directory).value_or(machine_process{});
}

outcome<unique_fd> bounded_output() {
  unique_fd file{::memfd_create("qemu-output", MFD_CLOEXEC | MFD_ALLOW_SEALING)};
  if (!file || ::ftruncate(file.get(), output_max) < 0 ||
      ::fcntl(file.get(), F_ADD_SEALS, F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL) < 0)
    return fail_errno(errno, "Cannot make room for QEMU's output");
  return file;
}

std::string read_output(const unique_fd& output) {
  std::string text(output_max, '\0');
  auto size = ::pread(output.get(), text.data(), text.size(), 0);
  text.resize(size > 0 ? static_cast<size_t>(size) : 0);
  text.resize(std::strlen(text.c_str()));
  return text;
}

outcome<unique_fd> listen_in(const std::string& directory, const char* name) {
  auto at = address_in(directory, name);
  if (!at) return tl::unexpected{at.error()};
  ::unlinkat(at->directory.get(), name, 0);
  unique_fd socket{::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)};
  if (!socket || ::bind(socket.get(), plain(at->name), sizeof at->name) < 0 || ::listen(socket.get(), backlog) < 0)
    return fail_errno(errno, "Cannot listen on " + directory + "/" + name);
  return socket;
}

outcome<unique_fd> connect_in(const std::string& directory, const char* name) {
  auto at = address_in(directory, name);
  if (!at) return tl::unexpected{at.error()};
  unique_fd socket{::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)};
  if (socket && ::connect(socket.get(), plain(at->name), sizeof at->name) == 0) return socket;
  if (errno == EAGAIN) return fail(fault::timed_out, "The virtual machine's QEMU does not answer");
  return fail(fault::wrong_state, "The virtual machine is not running");
}

} // namespace troupe::qemu
