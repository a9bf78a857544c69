#include "backends/instance/qemu/qemu_driver.hpp"

#include "backends/instance/lxc/cgroup_counters.hpp"
#include "backends/instance/lxc/leftovers.hpp"
#include "backends/instance/lxc/lxc_config.hpp"
#include "backends/instance/qemu/helper/start_order.hpp"
#include "backends/instance/qemu/launch.hpp"
#include "backends/instance/qemu/machine.hpp"
#include "backends/instance/qemu/machine_devices.hpp"
#include "backends/instance/qemu/machine_group.hpp"
#include "backends/instance/qemu/qemu_parts.hpp"
#include "backends/instance/qemu/qmp_values.hpp"
#include "backends/storage/run_program.hpp"

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <filesystem>
#include <mutex>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unordered_map>

namespace troupe::qemu {
namespace {

namespace fs = std::filesystem;
using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr seconds start_patience{30}; // until a fresh QEMU answers
constexpr milliseconds find_patience{2000};
constexpr seconds kill_patience{5};
constexpr size_t folder_max = 40;
constexpr size_t writings_max = 4096;

/// A machine's folder in the run directory: paths of sockets must stay short.
std::string folder_of(const std::string& key) {
  return key.size() <= folder_max ? key : key.substr(0, folder_max / 2) + part_name("", key);
}

unique_fd open_process(pid_t pid) { return unique_fd{static_cast<int>(::syscall(SYS_pidfd_open, pid, 0))}; }

tl::unexpected<error> not_running() { return fail(fault::wrong_state, "The virtual machine is not running"); }
tl::unexpected<error> no_agent() { return fail(fault::wrong_state, "The virtual machine's agent is not running"); }
tl::unexpected<error> not_in_machines(const std::string& device) {
  return fail(fault::unsupported, "Device \"" + device + "\" cannot be given to virtual machines");
}

std::string last_line(std::string text) {
  while (!text.empty() && text.back() == '\n') text.pop_back();
  return text.substr(text.rfind('\n') + 1);
}

/// "QEMU emulator version 7.2.22 (Debian ...)" as "7.2.22"; empty when QEMU is not installed.
std::string ask_version() {
  auto said = run_program({"qemu-system-" + std::string{TROUPE_HOST_ARCHITECTURE}, "--version"});
  if (!said) return {};
  constexpr std::string_view before = "version ";
  auto at = said->find(before);
  if (at == std::string::npos) return {};
  at += before.size();
  return said->substr(at, said->find_first_of(" \n", at) - at);
}

/// QEMU answers when its machine is made; then its CPUs run, unless raw.qemu says otherwise.
outcome<void> await_running(machine& it) {
  auto status = it.qmp->call("query-status", json::object(), -1, start_patience);
  if (!status) return tl::unexpected{status.error()};
  if (text_of(*status, "status") == "running") return {};
  return fail(fault::backend_failed, "The virtual machine does not run: " + text_of(*status, "status"));
}

class driver final : public instance_driver {
public:
  driver(qemu_place place, parts with)
      : place_{std::move(place)}, parts_{std::move(with)}, host_{lxc::read_host()}, cgroups_{place_.cgroup} {
    std::error_code ignored;
    fs::create_directories(place_.directory, ignored);
    ::chmod(place_.directory.c_str(), 0700);
  }
  ~driver() override {
    machines_.clear();
    parts_.agents.reset(); // their thread calls us
    cgroups_.remove_all();
  }

  std::string version() const override {
    std::call_once(version_once_, [this] { version_ = ask_version(); });
    return version_;
  }

  outcome<boot_result> start(const boot_plan& plan) override;
  outcome<std::optional<instance_found>> find(const std::string& key) override;
  /// A machine that reboots stays the same process.
  outcome<std::optional<instance_found>> await_reboot(const std::string& key) override { return find(key); }
  outcome<void> request_stop(const std::string& key, pid_t) override;
  outcome<void> kill(const std::string& key, pid_t leader) override;
  outcome<void> end_by_force(const std::string& key, const instance_found& it) override;
  outcome<void> freeze(const std::string& key) override { return simply(key, "stop"); }
  outcome<void> unfreeze(const std::string& key) override { return simply(key, "cont"); }

  outcome<std::unique_ptr<exec_session>> exec(const std::string& key, pid_t, exec_plan plan) override {
    auto agent = agent_of(key);
    if (!agent) return tl::unexpected{agent.error()};
    return (*agent)->exec(std::move(plan));
  }
  outcome<std::unique_ptr<exec_session>> console(const std::string& key, uint16_t, uint16_t) override {
    auto it = running(key);
    if (!it) return tl::unexpected{it.error()};
    return (*it)->console->sit_down();
  }
  outcome<std::string> console_log(const std::string& key, bool clear) override {
    auto it = running(key);
    if (!it) return tl::unexpected{it.error()};
    return (*it)->console->log(clear);
  }

  outcome<void> limit(const std::string& key, const config_map& config, const std::vector<disk_limit>& disks) override;
  outcome<void> plug(const live_instance&, const mount_plan& what) override { return not_in_machines(what.device); }
  outcome<void> unplug(const live_instance&, const mount_plan&) override { return {}; }
  outcome<void> plug(const live_instance&, const node_plan& what) override { return not_in_machines(what.device); }
  outcome<void> unplug(const live_instance&, const node_plan&) override { return {}; }
  outcome<void> plug(const live_instance& to, const drive_plan& what) override {
    return with_machine(to.key, [&](machine& m) { return m.add(what); });
  }
  outcome<void> unplug(const live_instance& from, const drive_plan& what) override {
    return with_machine(from.key, [&](machine& m) { return m.remove(what); });
  }
  outcome<void> plug(const live_instance& to, const nic_plan& what) override {
    return with_machine(to.key, [&](machine& m) { return m.add(what); });
  }
  outcome<void> unplug(const live_instance& from, const nic_plan& what) override {
    return with_machine(from.key, [&](machine& m) { return m.remove(what); });
  }

  outcome<unique_fd> display(const std::string& key, std::string_view protocol) override {
    auto it = running(key);
    if (!it) return tl::unexpected{it.error()};
    return (*it)->display(protocol);
  }
  outcome<std::string> screenshot(const std::string& key) override {
    auto it = running(key);
    if (!it) return tl::unexpected{it.error()};
    return (*it)->screenshot();
  }
  std::optional<guest_report> ask_guest(const std::string& key) override {
    auto agent = agent_of(key);
    if (!agent) return std::nullopt;
    return (*agent)->report();
  }
  void listen(std::function<void(const machine_news&)> who) override {
    std::lock_guard hold{news_->lock};
    news_->who = std::move(who);
  }

  outcome<file_info> read_file(const file_root& root, const std::string& path) override {
    auto agent = agent_of(root);
    if (!agent) return tl::unexpected{agent.error()};
    return (*agent)->read_file(path);
  }
  outcome<unique_fd> write_file(const file_root& root, const std::string& path, const file_write& how) override;
  outcome<void> finish_write(const unique_fd& file) override;
  outcome<void> remove_file(const file_root& root, const std::string& path) override {
    auto agent = agent_of(root);
    if (!agent) return tl::unexpected{agent.error()};
    return (*agent)->remove_file(path);
  }
  outcome<unique_fd> serve_sftp(const file_root& root) override {
    auto agent = agent_of(root);
    if (!agent) return tl::unexpected{agent.error()};
    return (*agent)->serve_sftp();
  }

  usage measure(const std::string& key, pid_t) override;
  counters count(const std::string& key, pid_t) override;
  std::vector<pid_t> sweep(const std::string& key) override;

private:
  /// Who hears of news; outlives us where machines still tell.
  struct listener {
    std::mutex lock;
    std::function<void(const machine_news&)> who;
    void tell(const machine_news& news) {
      std::function<void(const machine_news&)> now;
      {
        std::lock_guard hold{lock};
        now = who;
      }
      if (now) now(news);
    }
  };

  std::string directory_of(const std::string& key) const { return place_.directory + "/" + folder_of(key); }
  bool kvm();
  machine_host facts() { return {kvm(), host_.memory, host_.cpus, parts_.firmware_folder, first_descriptor}; }

  outcome<machine_ends> make_ends(const boot_plan& plan, const std::string& directory) const;
  outcome<std::shared_ptr<machine>> boot(const boot_plan& plan, const std::string& directory);
  outcome<std::shared_ptr<machine>> meet(const std::string& key, const std::string& directory, machine_process process);
  /// The machine as we know it, or get to know it; wrong_state: there is none.
  outcome<std::shared_ptr<machine>> running(const std::string& key);
  std::shared_ptr<machine> known(const std::string& key, machine_process process);
  void forget(const std::string& key) {
    std::lock_guard hold{lock_};
    machines_.erase(key);
  }

  template <class Use>
  outcome<void> with_machine(const std::string& key, Use use) {
    auto it = running(key);
    if (!it) return tl::unexpected{it.error()};
    return use(**it);
  }
  outcome<void> simply(const std::string& key, const char* command) {
    return with_machine(key, [&](machine& m) -> outcome<void> {
      auto done = m.qmp->call(command);
      if (!done) return tl::unexpected{done.error()};
      return {};
    });
  }

  outcome<std::shared_ptr<agent_client>> agent_of(const std::string& key) {
    auto it = running(key);
    if (!it) return tl::unexpected{it.error()};
    if (!(*it)->agent || !(*it)->agent->connected()) return no_agent();
    return (*it)->agent;
  }
  outcome<std::shared_ptr<agent_client>> agent_of(const file_root& root) {
    if (root.leader == 0)
      return fail(fault::wrong_state, "The files of a virtual machine are reached while it runs only");
    return agent_of(root.key);
  }

  const qemu_place place_;
  parts parts_;
  const lxc::host_facts host_;
  const lxc::cgroup_tree cgroups_;
  std::shared_ptr<listener> news_ = std::make_shared<listener>();
  mutable std::once_flag version_once_, kvm_once_;
  mutable std::string version_;
  bool kvm_ = false;
  socket_loop loop_;
  std::mutex meeting_, lock_;
  std::unordered_map<std::string, std::shared_ptr<machine>> machines_;
  std::unordered_map<ino_t, std::weak_ptr<agent_client>> writings_; // sockets of files being written
};

bool driver::kvm() {
  std::call_once(kvm_once_, [this] { kvm_ = probe(place_.helper).has_value(); });
  return kvm_;
}

outcome<machine_ends> driver::make_ends(const boot_plan& plan, const std::string& directory) const {
  machine_ends ends;
  auto qmp = listen_in(directory, "qmp");
  if (!qmp) return tl::unexpected{qmp.error()};
  auto agent = listen_in(directory, "agent");
  if (!agent) return tl::unexpected{agent.error()};
  ends.qmp = std::move(*qmp);
  ends.agent = std::move(*agent);
  if (!parts_.write_seed) return ends;
  ends.seed = directory + "/seed.iso";
  if (auto done = parts_.write_seed(ends.seed, plan.seed, place_.agent); !done) return tl::unexpected{done.error()};
  return ends;
}

outcome<std::shared_ptr<machine>> driver::meet(const std::string& key, const std::string& directory,
                                               machine_process process) {
  auto it = machine::open(loop_, key, directory, process, [news = news_](const machine_news& n) { news->tell(n); });
  if (!it) return it;
  if (parts_.agents)
    (*it)->agent = parts_.agents->open(directory + "/agent", [news = news_, key](bool came) {
      news->tell({key, came ? "agent-started" : "agent-stopped", ""});
    });
  std::lock_guard hold{lock_};
  return machines_[key] = *it;
}

outcome<std::shared_ptr<machine>> driver::boot(const boot_plan& plan, const std::string& directory) {
  std::error_code problem;
  fs::create_directories(directory, problem);
  if (problem) return fail(fault::backend_failed, "Cannot make " + directory + ": " + problem.message());
  auto ends = make_ends(plan, directory);
  if (!ends) return tl::unexpected{ends.error()};
  auto host = facts();
  host.kvm = host.kvm && plan.architecture == TROUPE_HOST_ARCHITECTURE;
  auto command = make_command(plan, host, std::move(*ends));
  if (!command) return tl::unexpected{command.error()};
  if (::access(command->words[0].c_str(), X_OK) < 0)
    return fail(fault::unsupported, "The program " + command->words[0] + " is not installed");
  auto cpus = machine_processors(plan.config, host);
  auto groups = make_groups(place_.cgroup, plan.key);
  if (!groups) return tl::unexpected{groups.error()};
  if (auto done = limit_group_of(cgroups_, plan.key, plan.config, host_, *cpus); !done)
    return tl::unexpected{done.error()};
  auto output = bounded_output();
  if (!output) return tl::unexpected{output.error()};
  auto process = launch(place_.helper, host.kvm, *groups, std::move(*command), directory, *output);
  if (!process) return tl::unexpected{process.error()};
  auto it = meet(plan.key, directory, *process);
  if (!it) return it;
  auto runs = await_running(**it);
  if (runs) return it;
  if (auto said = last_line(read_output(*output)); !said.empty() && runs.error().code == fault::wrong_state)
    return fail(fault::backend_failed, "QEMU does not start: " + said);
  return tl::unexpected{runs.error()};
}

outcome<boot_result> driver::start(const boot_plan& plan) {
  auto directory = directory_of(plan.key);
  if (read_process(directory)) return fail(fault::wrong_state, "The virtual machine is running already");
  sweep(plan.key);
  auto it = boot(plan, directory);
  if (!it) {
    sweep(plan.key);
    return tl::unexpected{it.error()};
  }
  auto process = (*it)->process;
  boot_result result{process.pid, process.pid, process.start, open_process(process.pid), open_process(process.pid)};
  if (result.leader_pidfd && result.monitor_pidfd && read_process(directory)) return result;
  sweep(plan.key);
  return fail(fault::backend_failed, "The virtual machine ended as soon as it was started");
}

std::shared_ptr<machine> driver::known(const std::string& key, machine_process process) {
  std::lock_guard hold{lock_};
  auto at = machines_.find(key);
  bool same =
      at != machines_.end() && at->second->process.start == process.start && at->second->process.pid == process.pid;
  return same && !at->second->qmp->over() ? at->second : nullptr;
}

outcome<std::shared_ptr<machine>> driver::running(const std::string& key) {
  auto process = read_process(directory_of(key));
  if (!process) {
    forget(key);
    return not_running();
  }
  std::unique_lock one_meets{meeting_}; // QEMU talks to one of us only
  if (auto it = known(key, *process)) return it;
  auto it = meet(key, directory_of(key), *process);
  one_meets.unlock();
  if (it) (*it)->console->recover();
  return it;
}

outcome<std::optional<instance_found>> driver::find(const std::string& key) {
  auto process = read_process(directory_of(key));
  if (!process) {
    forget(key);
    return std::nullopt;
  }
  instance_found found{process->pid, process->pid, process->start, false};
  auto it = running(key);
  auto status = it ? (*it)->qmp->call("query-status", json::object(), -1, find_patience) : tl::unexpected{it.error()};
  if (status) found.frozen = text_of(*status, "status") == "paused";
  // It may have ended meanwhile. One that does not answer is there all the same.
  if (!status && status.error().code != fault::timed_out && !read_process(directory_of(key))) return std::nullopt;
  return found;
}

outcome<void> driver::request_stop(const std::string& key, pid_t) {
  if (auto agent = agent_of(key)) static_cast<void>((*agent)->request_stop(false)); // the button is pressed anyway
  return simply(key, "system_powerdown");
}

outcome<void> driver::kill(const std::string& key, pid_t leader) {
  auto process = read_process(directory_of(key));
  if (!process || process->pid != leader) return {};
  auto pidfd = open_process(leader);
  if (!pidfd || !read_process(directory_of(key))) return {};
  if (::syscall(SYS_pidfd_send_signal, pidfd.get(), SIGKILL, nullptr, 0) < 0 && errno != ESRCH)
    return fail_errno(errno, "Cannot kill the virtual machine");
  cgroups_.thaw(key);
  return {};
}

outcome<void> driver::end_by_force(const std::string& key, const instance_found& it) {
  lxc::kill_all(cgroups_, key, lxc::group_part::all, kill_patience);
  if (lxc::await_end(it.monitor, kill_patience) || !read_process(directory_of(key))) return {};
  return fail(fault::timed_out, "The virtual machine hangs in the kernel");
}

outcome<void> driver::limit(const std::string& key, const config_map& config, const std::vector<disk_limit>& disks) {
  auto host = facts();
  auto memory = machine_memory(config, host);
  if (!memory) return tl::unexpected{memory.error()};
  auto cpus = machine_processors(config, host);
  if (!cpus) return tl::unexpected{cpus.error()};
  return with_machine(key, [&](machine& m) -> outcome<void> {
    auto has = m.qmp->call("query-memory-size-summary");
    if (!has) return tl::unexpected{has.error()};
    if (static_cast<int64_t>(*memory) > number_of(*has, "base-memory"))
      return fail(fault::unsupported, "limits.memory cannot grow beyond what the virtual machine was started with");
    auto running_cpus = m.qmp->call("query-cpus-fast");
    if (!running_cpus) return tl::unexpected{running_cpus.error()};
    if (running_cpus->size() != cpus->count)
      return fail(fault::unsupported, "limits.cpu of a running virtual machine cannot be changed");
    if (auto done = limit_group_of(cgroups_, key, config, host_, *cpus); !done) return done;
    for (const auto& disk : disks) {
      auto values = limit_values(disk.read_bytes, disk.read_ops, disk.write_bytes, disk.write_ops);
      auto set = m.qmp->call(
          "qom-set", {{"path", "/objects/" + limit_group(disk.path)}, {"property", "limits"}, {"value", values}});
      if (!set && set.error().code == fault::not_found)
        return fail(fault::not_found, "The virtual machine has no disk " + disk.path);
      if (!set) return tl::unexpected{set.error()};
    }
    auto balloon = m.qmp->call("balloon", {{"value", *memory}});
    if (!balloon) return tl::unexpected{balloon.error()};
    return {};
  });
}

outcome<unique_fd> driver::write_file(const file_root& root, const std::string& path, const file_write& how) {
  auto agent = agent_of(root);
  if (!agent) return tl::unexpected{agent.error()};
  auto file = (*agent)->write_file(path, how);
  struct stat st {};
  if (!file || !*file || ::fstat(file->get(), &st) < 0) return file;
  std::lock_guard hold{lock_};
  if (writings_.size() >= writings_max) // those that were never finished
    std::erase_if(writings_, [](const auto& each) { return each.second.expired(); });
  writings_[st.st_ino] = *agent;
  return file;
}

outcome<void> driver::finish_write(const unique_fd& file) {
  struct stat st {};
  if (!file || ::fstat(file.get(), &st) < 0) return {};
  std::shared_ptr<agent_client> agent;
  {
    std::lock_guard hold{lock_};
    if (auto at = writings_.extract(st.st_ino)) agent = at.mapped().lock();
  }
  if (!agent) return no_agent();
  return agent->finish_write(file);
}

instance_driver::usage driver::measure(const std::string& key, pid_t) {
  auto figures = count(key, 0);
  usage u;
  for (const auto& cpu : figures.cpus) u.cpu_ns += cpu.user_ns + cpu.system_ns;
  auto of = [&](const char* controller, const char* v1, const char* v2) -> int64_t {
    auto text = host_.unified_cgroups ? cgroups_.read(key, "", v2) : cgroups_.read(key, controller, v1);
    return text ? std::strtoll(text->c_str(), nullptr, 10) : 0;
  };
  u.memory = of("memory", "memory.usage_in_bytes", "memory.current");
  u.memory_peak = of("memory", "memory.max_usage_in_bytes", "memory.peak");
  return u; // how many processes it has only the guest knows
}

instance_driver::counters driver::count(const std::string& key, pid_t) {
  return lxc::count_cgroups(cgroups_, host_.unified_cgroups, key);
}

std::vector<pid_t> driver::sweep(const std::string& key) {
  forget(key);
  auto hanging = lxc::clear_away(cgroups_, key, kill_patience);
  std::error_code ignored;
  fs::remove_all(directory_of(key), ignored);
  return hanging;
}

} // namespace

std::unique_ptr<instance_driver> make_driver(qemu_place place, parts with) {
  return std::make_unique<driver>(std::move(place), std::move(with));
}

} // namespace troupe::qemu
