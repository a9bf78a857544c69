#include "backends/instance/lxc/lxc_driver.hpp"

#include "backends/instance/file_job.hpp"
#include "backends/instance/lxc/cgroup_counters.hpp"
#include "backends/instance/lxc/cgroup_tree.hpp"
#include "backends/instance/lxc/kernel_modules.hpp"
#include "backends/instance/lxc/leftovers.hpp"
#include "backends/instance/lxc/lxc_config.hpp"
#include "backends/instance/lxc/lxc_exec.hpp"
#include "backends/instance/lxc/lxc_limits.hpp"
#include "backends/instance/lxc/lxc_requests.hpp"
#include "backends/instance/lxc/proc_facts.hpp"
#include "backends/instance/lxc/zygote.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace troupe {
namespace lxc {
namespace {

void make_directory(const std::string& path) {
  for (size_t at = path.find('/', 1); at != std::string::npos; at = path.find('/', at + 1))
    ::mkdir(path.substr(0, at).c_str(), 0711);
  ::mkdir(path.c_str(), 0711);
}

outcome<void> replace_file(const std::string& path, const std::string& content) {
  auto fresh = path + ".new";
  unique_fd fd{::open(fresh.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600)};
  if (!fd || ::write(fd.get(), content.data(), content.size()) != static_cast<ssize_t>(content.size()) ||
      ::rename(fresh.c_str(), path.c_str()) < 0)
    return fail_errno(errno, "Cannot write " + path);
  return {};
}

/// init understands one of two requests: systemd handles SIGRTMIN+3 (and therefore blocks it to read it from a
/// signalfd), the others SIGPWR.
int stop_signal(pid_t leader) {
  auto blocked = read_status(leader, "SigBlk");
  auto mask = blocked.empty() ? 0 : std::strtoull(blocked.c_str(), nullptr, 16);
  int halt = SIGRTMIN + 3;
  return (mask >> (halt - 1)) & 1 ? halt : SIGPWR;
}

outcome<void> signal_process(pid_t pid, int number) {
  if (pid <= 0) return fail(fault::internal, "There is no process to signal");
  unique_fd fd{static_cast<int>(::syscall(SYS_pidfd_open, pid, 0))};
  if (!fd && errno == ESRCH) return {};
  if (!fd) return fail_errno(errno, "Cannot open the instance's init");
  // Only the first process of a pid namespace can be an instance's init.
  if (auto pids = read_status(pid, "NSpid"); !pids.ends_with("\t1")) return {};
  if (::syscall(SYS_pidfd_send_signal, fd.get(), number, nullptr, 0) < 0 && errno != ESRCH)
    return fail_errno(errno, "Cannot signal the instance's init");
  return {};
}

class driver final : public instance_driver {
public:
  explicit driver(lxc_place place)
      : place_{std::move(place)}, host_{read_host()}, cgroups_{place_.cgroup_prefix}, zygote_{place_.program,
                                                                                              place_.lxcpath} {
    make_directory(stage());
    ::chmod(stage().c_str(), 0755);
    ::mkdir((place_.lxcpath + exec_sockets).c_str(), 0700);
    unique_fd locks{::open((place_.lxcpath + start_locks).c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600)};
    host_.cgroup_prefix = place_.cgroup_prefix;
    if (read_small("/proc/sys/kernel/seccomp/actions_avail").find("user_notif") != std::string::npos)
      host_.syscalls = place_.lxcpath + "/.syscalls";
    host_.seccomp_deny = place_.lxcpath + "/seccomp";
    host_.seccomp_deny_nesting = place_.lxcpath + "/seccomp-nesting";
    policies_ = replace_file(host_.seccomp_deny, seccomp_policy(false)).and_then([&] {
      return replace_file(host_.seccomp_deny_nesting, seccomp_policy(true));
    });
  }

  // Not earlier: a start that runs meanwhile needs them. While containers are left the kernel refuses.
  ~driver() override {
    cgroups_.remove_all();
    ::rmdir(lock_directory().c_str());
  }

  std::string version() const override { return TROUPE_LIBLXC_VERSION; }

  outcome<boot_result> start(const boot_plan& plan) override {
    if (!policies_) return tl::unexpected{policies_.error()};
    if (host_.syscalls.empty() && !notified_calls(plan.config).empty())
      return fail(fault::unsupported,
                  "This kernel does not tell of system calls: security.syscalls.intercept.* cannot work");
    auto maps = maps_of(plan.ids, get(plan.config, "raw.idmap"));
    if (!maps) return tl::unexpected{maps.error()};
    auto settings = make_settings(plan, *maps, host_);
    if (!settings) return tl::unexpected{settings.error()};
    if (auto policy = plan_policy(plan.config); !policy.empty())
      if (auto done = replace_file(policy_file(host_, plan.key), policy); !done) return tl::unexpected{done.error()};
    if (auto done = load_modules(get(plan.config, "linux.kernel_modules")); !done) return tl::unexpected{done.error()};
    auto reply = zygote_.run(start_request(job(plan.key, start_job), plan, *maps, *settings, place_.cgroup_prefix));
    if (!reply) {
      bool runs = reply.error().code == fault::wrong_state; // then there is nothing of this start, and much to spoil
      if (!runs) sweep(plan.key);                           // one that had to be ended leaves something
      return tl::unexpected{reply.error()};
    }
    auto found = read_found(*reply);
    if (!found || !*found || reply->fds.size() != 2) return fail(fault::internal, "The lxc helper gave a wrong answer");
    return boot_result{(*found)->leader, (*found)->monitor, (*found)->monitor_start, std::move(reply->fds[0]),
                       std::move(reply->fds[1])};
  }

  outcome<std::optional<instance_found>> find(const std::string& key) override {
    return ask(key, find_request(job(key, short_job)));
  }
  outcome<std::optional<instance_found>> await_reboot(const std::string& key) override {
    return ask(key, await_reboot_request(job(key, 0)));
  }

  outcome<void> request_stop(const std::string&, pid_t leader) override {
    return signal_process(leader, stop_signal(leader));
  }

  outcome<void> kill(const std::string& key, pid_t leader) override {
    auto killed = signal_process(leader, SIGKILL);
    cgroups_.thaw(key);
    return killed;
  }

  outcome<void> end_by_force(const std::string& key, const instance_found& it) override {
    unique_fd monitor{static_cast<int>(::syscall(SYS_pidfd_open, it.monitor, 0))};
    if (!monitor || read_proc(it.monitor).start != it.monitor_start) return {};
    kill_all(cgroups_, key, group_part::payload, patience);
    if (await_end(it.leader, {}) && await_end(it.monitor, patience)) return {};
    ::syscall(SYS_pidfd_send_signal, monitor.get(), SIGKILL, nullptr, 0);
    if (await_end(it.monitor, patience)) return {};
    return fail(fault::timed_out, "The instance's monitor hangs in the kernel");
  }

  outcome<void> freeze(const std::string& key) override { return set_frozen(key, true); }
  outcome<void> unfreeze(const std::string& key) override { return set_frozen(key, false); }

  outcome<std::unique_ptr<exec_session>> exec(const std::string& key, pid_t, exec_plan plan) override {
    auto request = exec_request(job(key, entry_job), plan);
    std::vector<int> fds;
    for (auto& fd : plan.stdio)
      if (!plan.interactive) fds.push_back(fd.get());
    for (auto& fd : plan.ends)
      if (fd && !plan.interactive) fds.push_back(fd.get());
    auto reply = zygote_.run(request, fds);
    if (!reply) return tl::unexpected{reply.error()};
    if (plan.interactive && reply->fds.size() != 1) return fail(fault::internal, "The lxc helper gave no terminal");
    auto pty = plan.interactive ? std::move(reply->fds[0]) : unique_fd{};
    return std::make_unique<lxc_exec>(std::move(reply->socket), std::move(pty));
  }

  std::vector<std::string> list_execs() override { return lxc::list_execs(place_.lxcpath); }
  outcome<found_exec> find_exec(const std::string& operation, bool attend) override {
    return lxc::find_exec(place_.lxcpath, operation, attend);
  }

  outcome<std::unique_ptr<exec_session>> console(const std::string& key, uint16_t width, uint16_t height) override {
    auto reply = zygote_.run(attach_request(job(key, entry_job), width, height));
    if (!reply) return tl::unexpected{reply.error()};
    if (reply->fds.size() != 1) return fail(fault::internal, "The lxc helper gave no console");
    return std::make_unique<lxc_console>(std::move(reply->socket), std::move(reply->fds[0]));
  }

  outcome<std::string> console_log(const std::string& key, bool clear) override {
    auto reply = zygote_.run(console_request(job(key, short_job), clear));
    if (!reply) return tl::unexpected{reply.error()};
    return read_log(*reply);
  }

  outcome<void> limit(const std::string& key, const config_map& config, const std::vector<disk_limit>& disks) override {
    auto limits = limits_of(config, key, host_);
    if (!limits) return tl::unexpected{limits.error()};
    auto bounds = disk_limits_of(disks, host_);
    if (!bounds) return tl::unexpected{bounds.error()};
    return write_limits(cgroups_, key, *limits).and_then([&] {
      return write_disk_limits(cgroups_, key, host_, *bounds);
    });
  }
  outcome<void> plug(const live_instance& to, const mount_plan& what) override { return change(to, what, false); }
  outcome<void> unplug(const live_instance& from, const mount_plan& what) override { return change(from, what, true); }
  outcome<void> plug(const live_instance& to, const node_plan& what) override {
    if (auto done = set_rule(to.key, what, true); !done) return done;
    return change(to, what, false);
  }
  outcome<void> unplug(const live_instance& from, const node_plan& what) override {
    if (auto done = change(from, what, true); !done) return done;
    return set_rule(from.key, what, false);
  }

  outcome<file_info> read_file(const file_root& root, const std::string& path) override {
    auto reply = zygote_.run(read_request(job("files", file_job), root, path));
    if (!reply) return tl::unexpected{reply.error()};
    limit_waiting(reply->socket.get(), file_job); // it may be what the content comes through
    return troupe::read_info(*reply);
  }
  outcome<unique_fd> write_file(const file_root& root, const std::string& path, const file_write& how) override {
    auto reply = zygote_.run(write_request(job("files", file_job), root, path, how));
    if (!reply) return tl::unexpected{reply.error()};
    if (!reply->fds.empty()) return std::move(reply->fds[0]);
    if (how.type != 'f') return unique_fd{};
    limit_waiting(reply->socket.get(), file_job); // the job passes on what it gets
    return std::move(reply->socket);
  }
  outcome<void> finish_write(const unique_fd& file) override { return finish_upload(file); }
  outcome<void> remove_file(const file_root& root, const std::string& path) override {
    auto reply = zygote_.run(remove_request(job("files", file_job), root, path));
    return reply ? outcome<void>{} : tl::unexpected{reply.error()};
  }

  outcome<unique_fd> serve_sftp(const file_root& root) override {
    auto reply = zygote_.run(sftp_request(job("files", file_job), root));
    if (!reply) return tl::unexpected{reply.error()};
    return std::move(reply->socket);
  }

  usage measure(const std::string& key, pid_t) override;
  counters count(const std::string& key, pid_t) override { return count_cgroups(cgroups_, host_.unified_cgroups, key); }

  std::vector<pid_t> sweep(const std::string& key) override {
    auto hanging = clear_away(cgroups_, key, patience);
    ::unlink(policy_file(host_, key).c_str());
    ::unlink((lock_directory() + "/." + key).c_str());
    return hanging;
  }

private:
  static constexpr uint32_t short_job = 30, file_job = 60, start_job = 120, // seconds
      entry_job = 30;                                                       // until the command runs
  static constexpr std::chrono::seconds patience{5};                        // with processes that were killed
  static constexpr int freeze_wait_ms = 10000;

  /// Where liblxc, run by root, keeps its locks.
  std::string lock_directory() const { return "/run/lxc/lock" + place_.lxcpath; }
  std::string stage() const { return place_.lxcpath + "/.stage"; }
  job_address job(const std::string& key, uint32_t seconds) const { return {key, place_.lxcpath, stage(), seconds}; }

  outcome<std::optional<instance_found>> ask(const std::string& key, const job_request& request) {
    auto reply = zygote_.run(request);
    if (!reply) return tl::unexpected{reply.error()};
    auto found = read_found(*reply);
    if (found && *found) (*found)->frozen = cgroups_.frozen(key);
    return found;
  }

  outcome<void> set_frozen(const std::string& key, bool frozen);

  template <class Plan>
  outcome<void> change(const live_instance& it, const Plan& what, bool remove) {
    auto reply = zygote_.run(plug_request(job(it.key, file_job), it, what, remove));
    if (reply) return {};
    return fail(reply.error().code, "Device \"" + what.device + "\": " + reply.error().message);
  }

  /// The devices controller of cgroup v1 is a file; that of v2 is a program which liblxc replaces.
  outcome<void> set_rule(const std::string& key, const node_plan& node, bool allow) {
    auto rule = device_rule(node);
    if (!allow && is_allowed_anyway(node)) return {};
    if (!cgroups_.path(key, "devices").empty()) {
      if (cgroups_.write(key, "devices", allow ? "devices.allow" : "devices.deny", rule)) return {};
      return fail_errno(errno, "Cannot change the instance's device rules");
    }
    auto reply = zygote_.run(rule_request(job(key, short_job), rule, allow));
    return reply ? outcome<void>{} : tl::unexpected{reply.error()};
  }

  const lxc_place place_;
  host_facts host_;
  cgroup_tree cgroups_;
  outcome<void> policies_;
  zygote zygote_;
};

/// cgroup.events is a pollable file: the wait ends with the change, not with a look at the clock.
outcome<void> driver::set_frozen(const std::string& key, bool frozen) {
  auto group = cgroups_.path(key, "");
  unique_fd events{group.empty() ? -1 : ::open((group + "/cgroup.events").c_str(), O_RDONLY | O_CLOEXEC)};
  if (!events) {
    auto reply = zygote_.run(freeze_request(job(key, short_job), frozen));
    return reply ? outcome<void>{} : tl::unexpected{reply.error()};
  }
  if (!cgroups_.write(key, "", "cgroup.freeze", frozen ? "1" : "0"))
    return fail_errno(errno, frozen ? "Cannot freeze the instance" : "Cannot thaw the instance");
  for (;;) {
    char text[256] = {};
    if (::pread(events.get(), text, sizeof text - 1, 0) < 0)
      return fail(fault::wrong_state, "The instance is not running");
    std::string_view now{text};
    if ((now.find("frozen 1") != now.npos) == frozen) return {};
    if (now.find("populated 0") != now.npos) return fail(fault::wrong_state, "The instance is not running");
    pollfd change{events.get(), POLLPRI, 0};
    if (int n = ::poll(&change, 1, freeze_wait_ms); n == 0) {
      cgroups_.write(key, "", "cgroup.freeze", "0");
      return fail(fault::timed_out, "The instance cannot be frozen: a process hangs in the kernel");
    }
  }
}

int64_t number_or(const std::optional<std::string>& text, int64_t fallback) {
  return text ? std::strtoll(text->c_str(), nullptr, 10) : fallback;
}

/// The value behind `name` in a file of "name value" lines.
int64_t field(const std::optional<std::string>& text, const char* name) {
  auto at = text ? text->find(name) : std::string::npos;
  return at == std::string::npos ? 0 : std::strtoll(text->c_str() + at + std::strlen(name), nullptr, 10);
}

instance_driver::usage driver::measure(const std::string& key, pid_t) {
  usage u;
  if (host_.unified_cgroups) {
    u.processes = number_or(cgroups_.read(key, "", "pids.current"), -1);
    u.cpu_ns = field(cgroups_.read(key, "", "cpu.stat"), "usage_usec ") * 1000;
    u.memory = number_or(cgroups_.read(key, "", "memory.current"), 0);
    u.memory_peak = number_or(cgroups_.read(key, "", "memory.peak"), 0);
    u.swap = number_or(cgroups_.read(key, "", "memory.swap.current"), 0);
    u.swap_peak = number_or(cgroups_.read(key, "", "memory.swap.peak"), 0);
    return u;
  }
  u.processes = number_or(cgroups_.read(key, "pids", "pids.current"), -1);
  u.cpu_ns = number_or(cgroups_.read(key, "cpuacct", "cpuacct.usage"), 0);
  u.memory = number_or(cgroups_.read(key, "memory", "memory.usage_in_bytes"), 0);
  u.memory_peak = number_or(cgroups_.read(key, "memory", "memory.max_usage_in_bytes"), 0);
  // memsw counts memory and swap together; without swap accounting the files do not exist.
  auto both = number_or(cgroups_.read(key, "memory", "memory.memsw.usage_in_bytes"), 0);
  auto peak = number_or(cgroups_.read(key, "memory", "memory.memsw.max_usage_in_bytes"), 0);
  u.swap = std::max<int64_t>(both - u.memory, 0);
  u.swap_peak = std::max<int64_t>(peak - u.memory_peak, 0);
  return u;
}

} // namespace
} // namespace lxc

std::unique_ptr<instance_driver> make_lxc_driver(lxc_place place) {
  return std::make_unique<lxc::driver>(std::move(place));
}

} // namespace troupe
