#pragma once

#include "backends/instance/instance_driver.hpp"
#include "backends/storage/storage_driver.hpp"
#include "persist/store.hpp"
#include "runtime/child.hpp"
#include "tests/support/deterministic_system.hpp"

#include <catch2/catch.hpp>
#include <chrono>
#include <condition_variable>
#include <csignal>
#include <filesystem>
#include <functional>
#include <mutex>
#include <set>
#include <spawn.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <thread>

namespace troupe {

const inline tl::unexpected<error> never = fail(fault::internal, "Not asked for by this test");

struct no_driver : instance_driver {
  std::string version() const override { return ""; }
  outcome<boot_result> start(const boot_plan&) override { return never; }
  outcome<std::optional<instance_found>> find(const std::string&) override { return never; }
  outcome<std::optional<instance_found>> await_reboot(const std::string&) override { return never; }
  outcome<void> request_stop(const std::string&, pid_t) override { return never; }
  outcome<void> kill(const std::string&, pid_t) override { return never; }
  outcome<void> end_by_force(const std::string&, const instance_found&) override { return {}; }
  outcome<void> freeze(const std::string&) override { return never; }
  outcome<void> unfreeze(const std::string&) override { return never; }
  outcome<std::unique_ptr<exec_session>> exec(const std::string&, pid_t, exec_plan) override { return never; }
  outcome<std::unique_ptr<exec_session>> console(const std::string&, uint16_t, uint16_t) override { return never; }
  outcome<std::string> console_log(const std::string&, bool) override { return never; }
  outcome<void> limit(const std::string&, const config_map&, const std::vector<disk_limit>&) override { return {}; }
  outcome<void> plug(const live_instance&, const mount_plan&) override { return {}; }
  outcome<void> unplug(const live_instance&, const mount_plan&) override { return {}; }
  outcome<void> plug(const live_instance&, const node_plan&) override { return {}; }
  outcome<void> unplug(const live_instance&, const node_plan&) override { return {}; }
  outcome<file_info> read_file(const file_root&, const std::string&) override { return never; }
  outcome<unique_fd> write_file(const file_root&, const std::string&, const file_write&) override { return never; }
  outcome<void> finish_write(const unique_fd&) override { return never; }
  outcome<unique_fd> serve_sftp(const file_root&) override { return never; }
  outcome<void> remove_file(const file_root&, const std::string&) override { return never; }
  usage measure(const std::string&, pid_t) override { return {}; }
  counters count(const std::string&, pid_t) override { return {}; }
  std::vector<pid_t> sweep(const std::string&) override { return {}; }
};

struct folder {
  std::string path = "/tmp/troupe-actors-XXXXXX";
  folder() { REQUIRE(::mkdtemp(path.data())); }
  folder(const folder&) = delete;
  ~folder() { std::filesystem::remove_all(path); }
};

inline std::unique_ptr<store> open_db(const std::string& path) {
  auto opened = store::open(path, "m1");
  REQUIRE(opened);
  return std::move(*opened);
}

/// A process that only waits to be killed, as something to watch.
class idle_process {
public:
  idle_process() {
    char program[] = "sleep", time[] = "1000";
    char* words[] = {program, time, nullptr};
    char* nothing[] = {nullptr};
    REQUIRE(posix_spawnp(&pid_, program, nullptr, nullptr, words, nothing) == 0);
  }
  idle_process(const idle_process&) = delete;
  ~idle_process() {
    end();
    waitpid(pid_, nullptr, 0);
  }
  void end() { ::kill(pid_, SIGKILL); }
  pid_t pid() const { return pid_; }
  unique_fd pidfd() const { return unique_fd{static_cast<int>(syscall(SYS_pidfd_open, pid_, 0))}; }

private:
  pid_t pid_ = -1;
};

/// A switch that a call on another thread waits at while it is closed.
class barrier {
public:
  void close() { set(false); }
  void open() { set(true); }
  void pass() {
    std::unique_lock lock{mutex_};
    ++waiting_;
    changed_.wait(lock, [this] { return open_; });
    --waiting_;
  }
  bool somebody_waits() {
    std::lock_guard lock{mutex_};
    return waiting_ > 0;
  }

private:
  void set(bool open) {
    std::lock_guard lock{mutex_};
    open_ = open;
    changed_.notify_all();
  }
  std::mutex mutex_;
  std::condition_variable changed_;
  bool open_ = true;
  int waiting_ = 0;
};

/// For actors that other threads answer: delivers until `done()`; the limit only ends a broken test.
inline void deliver_until(deterministic_system& d, const std::function<bool()>& done) {
  auto limit = std::chrono::steady_clock::now() + std::chrono::seconds{30};
  for (d.run(); !done(); d.run()) {
    REQUIRE(std::chrono::steady_clock::now() < limit);
    std::this_thread::yield();
  }
}

/// Runs "instances" that are two idle processes each. Thread-safe as the real one; what it shall do is set beforehand.
struct fake_driver : no_driver {
  std::mutex mutex;
  std::unique_ptr<idle_process> leader, monitor;
  std::set<std::string> failing; // "start", "freeze", "unfreeze", "kill"
  bool reboots = false;          // the leader's next end is a reboot
  barrier starting;
  int starts = 0;
  bool running = false;

  bool fails(const std::string& call) {
    std::lock_guard lock{mutex};
    return failing.count(call);
  }
  void set_failing(std::set<std::string> calls) {
    std::lock_guard lock{mutex};
    failing = std::move(calls);
  }
  outcome<void> plainly(const std::string& call) {
    if (fails(call)) return fail(fault::backend_failed, "No " + call);
    return {};
  }
  void end_all() {
    std::lock_guard lock{mutex};
    running = false;
    if (leader) leader->end();
    if (monitor) monitor->end();
  }
  instance_found facts() const { return {leader->pid(), monitor->pid(), start_time(monitor->pid()), false}; }
  static uint64_t start_time(pid_t pid) { return process_start_time(pid); }

  outcome<boot_result> start(const boot_plan&) override {
    starting.pass();
    if (auto good = plainly("start"); !good) return tl::unexpected{good.error()};
    std::lock_guard lock{mutex};
    ++starts;
    running = true;
    leader = std::make_unique<idle_process>();
    monitor = std::make_unique<idle_process>();
    return boot_result{leader->pid(), monitor->pid(), start_time(monitor->pid()), leader->pidfd(), monitor->pidfd()};
  }
  outcome<std::optional<instance_found>> find(const std::string&) override {
    std::lock_guard lock{mutex};
    if (!running) return std::nullopt;
    return facts();
  }
  outcome<std::optional<instance_found>> await_reboot(const std::string&) override {
    std::lock_guard lock{mutex};
    if (!std::exchange(reboots, false)) return std::nullopt;
    leader = std::make_unique<idle_process>();
    return facts();
  }
  outcome<void> request_stop(const std::string&, pid_t) override { return end_all(), outcome<void>{}; }
  outcome<void> kill(const std::string&, pid_t) override {
    if (auto good = plainly("kill"); !good) return good;
    return end_all(), outcome<void>{};
  }
  outcome<void> freeze(const std::string&) override { return plainly("freeze"); }
  outcome<void> unfreeze(const std::string&) override { return plainly("unfreeze"); }
};

/// A pool whose volumes are empty directories.
struct fake_storage : storage_driver {
  explicit fake_storage(std::string where) : directory{std::move(where)} {}
  std::string directory;
  std::mutex mutex;
  std::set<std::string> volumes, sealed; // "kind/name"
  barrier cloning;

  static std::string name_of(const volume_id& id) { return id.kind + "/" + id.name; }
  bool has(const std::string& name) {
    std::lock_guard lock{mutex};
    return volumes.count(name);
  }
  storage_traits traits() const noexcept override { return {"fake"}; }
  outcome<config_map> complete(config_map config) override { return config; }
  outcome<void> create() override { return {}; }
  outcome<void> destroy() override { return {}; }
  outcome<void> open() override { return {}; }
  outcome<void> close() override { return {}; }
  outcome<std::vector<volume_id>> list() override { return std::vector<volume_id>{}; }
  outcome<void> create_volume(const volume_id& id) override {
    std::filesystem::create_directories(path(id));
    std::lock_guard lock{mutex};
    volumes.insert(name_of(id));
    return {};
  }
  outcome<void> fill_volume(const volume_id& id, const volume_filler& fill) override {
    std::filesystem::create_directories(path(id));
    if (auto filled = fill(path(id)); !filled) return filled;
    return create_volume(id);
  }
  outcome<void> clone_volume(const volume_id&, const volume_id& target) override {
    cloning.pass();
    return create_volume(target);
  }
  outcome<void> seal_volume(const volume_id& id) override {
    std::lock_guard lock{mutex};
    sealed.insert(name_of(id));
    return {};
  }
  bool is_sealed(const volume_id& id) override {
    std::lock_guard lock{mutex};
    return sealed.count(name_of(id));
  }
  outcome<void> rename_volume(const volume_id&, const volume_id&) override { return {}; }
  outcome<void> destroy_volume(const volume_id& id) override {
    std::lock_guard lock{mutex};
    volumes.erase(name_of(id));
    sealed.erase(name_of(id));
    return {};
  }
  outcome<void> empty_trash() override { return {}; }
  std::string path(const volume_id& id) const override { return directory + "/" + name_of(id); }
  outcome<root_mount> root(const volume_id& id) override { return root_mount{path(id)}; }
  outcome<uint64_t> usage(const volume_id&) override { return 0; }
  outcome<pool_space> space() override { return pool_space{}; }
};

} // namespace troupe
