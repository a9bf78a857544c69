#include "actors/expander.hpp"
#include "actors/instances.hpp"
#include "gateway/open_metrics.hpp"
#include "gateway/rest/routes.hpp"
#include "gateway/trust.hpp"
#include "messages/subscription.capnp.h"
#include "net/links.hpp"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <map>
#include <sys/statvfs.h>
#include <sys/sysinfo.h>
#include <unistd.h>

namespace troupe {
namespace {

struct running {
  std::string project, name, type, pool;
  schema::InstanceType kind;
  pid_t leader;
};

/// The file system that a path is on, as /proc/self/mounts tells it.
struct mounted {
  std::string device, type;
};

std::string_view type_name(schema::InstanceType type) {
  return type == schema::InstanceType::CONTAINER ? "container" : "virtual-machine";
}

mounted find_mount(const std::string& path) {
  std::ifstream in{"/proc/self/mounts"};
  mounted best;
  size_t length = 0;
  for (std::string device, at, type, rest; in >> device >> at >> type && std::getline(in, rest);) {
    bool above = path.starts_with(at) && (at == "/" || path.size() == at.size() || path[at.size()] == '/');
    if (!above || at.size() < length) continue;
    best = {device, type};
    length = at.size();
  }
  return best;
}

bool measures_all(const principal& who) {
  return who.level == trust::full || (who.level == trust::granted && who.may("can_view_metrics", the_server())) ||
         (who.level == trust::metrics && who.projects == std::vector{std::string{every_project}});
}

/// Whose figures a caller may have.
bool may_measure(const principal& who, std::string_view project) {
  if (who.level != trust::metrics) return who.may("can_view_metrics", the_project(project));
  return measures_all(who) || std::find(who.projects.begin(), who.projects.end(), project) != who.projects.end();
}

class scrape {
public:
  scrape(services& with, const principal& who, std::string_view only) : with_{with} {
    list(who, only);
    for (const running& one : found_) measure(one);
    if (measures_all(who) && only.empty()) measure_daemon();
  }
  std::string text() && { return std::move(out_).take(); }

private:
  // The snapshot is over before anything is measured.
  void list(const principal& who, std::string_view only) {
    auto records = with_.db.read();
    expander expand{records};
    std::map<std::pair<std::string, std::string>, size_t> counts;
    std::string prefix = only.empty() ? std::string{} : std::string{only} + '/';
    records.scan(table::instances, prefix, [&](std::string_view key, std::string_view bytes) {
      std::string project{key.substr(0, key.find('/'))};
      if (!may_measure(who, project)) return true;
      auto status = load<schema::InstanceStatus>(records, table::statuses, key).value_or(status_record{});
      auto leader = status.read([](schema::InstanceStatus::Reader s) { return s.getLeader(); });
      spec_record::from_bytes(bytes).read([&](schema::InstanceSpec::Reader spec) {
        std::string type{type_name(spec.getType())};
        ++counts[{project, type}];
        if (leader <= 0) return;
        auto effective = expand(spec);
        auto* root = root_disk(effective.devices);
        found_.push_back({project, text_of(spec.getName()), type, std::string{root ? get(*root, "pool") : ""},
                          spec.getType(), leader});
      });
      return true;
    });
    for (auto& [of, count] : counts)
      out_.add(metric::instances, static_cast<double>(count), {{"project", of.first}, {"type", of.second}});
    events_ = records.last_seq();
    // An operation has a record of its own in the journal until it ends.
    records.scan(table::journal, "", [&](std::string_view id, std::string_view) {
      if (records.get(table::operations, id)) ++operations_;
      return true;
    });
    records.scan(table::subscriptions, "", [&](std::string_view name, std::string_view bytes) {
      auto seen = message<schema::DurableSubscription>::from_bytes(bytes).read([](auto s) { return s.getSeq(); });
      lags_.emplace_back(name, events_ - std::min(events_, seen));
      return true;
    });
  }

  static std::string text_of(capnp::Text::Reader from) { return {from.begin(), from.size()}; }

  void measure(const running& one) {
    auto key = instance_key(one.project, one.name);
    auto& driver = with_.driver(one.kind);
    auto used = driver.measure(key, one.leader);
    if (used.processes < 0) return; // it has ended since
    out_.about({{"name", one.name}, {"project", one.project}, {"type", one.type}});
    out_.add(metric::procs, static_cast<double>(used.processes));
    auto counted = driver.count(key, one.leader);
    for (auto& cpu : counted.cpus) {
      out_.add(metric::cpu_seconds, static_cast<double>(cpu.system_ns) / 1e9, {{"cpu", cpu.cpu}, {"mode", "system"}});
      out_.add(metric::cpu_seconds, static_cast<double>(cpu.user_ns) / 1e9, {{"cpu", cpu.cpu}, {"mode", "user"}});
    }
    for (auto& disk : counted.disks) {
      const metric_labels device = {{"device", disk.device}};
      out_.add(metric::disk_read_bytes, static_cast<double>(disk.read_bytes), device);
      out_.add(metric::disk_reads_completed, static_cast<double>(disk.reads), device);
      out_.add(metric::disk_written_bytes, static_cast<double>(disk.written_bytes), device);
      out_.add(metric::disk_writes_completed, static_cast<double>(disk.writes), device);
    }
    measure_memory(used, counted);
    measure_root(one);
    measure_links(one);
  }

  void measure_memory(const instance_driver::usage& used, const instance_driver::counters& counted) {
    auto& memory = counted.memory;
    auto value = [&memory](const char* name) { return memory.count(name) ? memory.at(name) : int64_t{0}; };
    auto add = [&](metric what, int64_t bytes) { out_.add(what, static_cast<double>(bytes)); };
    constexpr std::pair<metric, const char*> plain[] = {{metric::memory_active_anon, "active_anon"},
                                                        {metric::memory_active_file, "active_file"},
                                                        {metric::memory_inactive_anon, "inactive_anon"},
                                                        {metric::memory_inactive_file, "inactive_file"},
                                                        {metric::memory_cached, "file"},
                                                        {metric::memory_dirty, "file_dirty"},
                                                        {metric::memory_mapped, "file_mapped"},
                                                        {metric::memory_rss, "anon"},
                                                        {metric::memory_shmem, "shmem"},
                                                        {metric::memory_swap, "swap"},
                                                        {metric::memory_unevictable, "unevictable"},
                                                        {metric::memory_writeback, "file_writeback"}};
    for (auto& [what, name] : plain)
      if (memory.count(name)) add(what, memory.at(name));
    add(metric::memory_active, value("active_anon") + value("active_file"));
    add(metric::memory_inactive, value("inactive_anon") + value("inactive_file"));
    auto total = memory.count("limit") ? std::min(memory.at("limit"), host_memory()) : host_memory();
    auto free = std::max<int64_t>(total - used.memory, 0);
    add(metric::memory_total, total);
    add(metric::memory_free, free);
    add(metric::memory_available, std::min(free + value("file"), total));
    if (counted.oom_kills) add(metric::memory_oom_kills, *counted.oom_kills);
  }

  /// The pool's file system, which holds the root. Nothing that the instance has mounted is touched: it may hang.
  void measure_root(const running& one) {
    auto path = with_.dir.storage_pools + "/" + one.pool;
    struct statvfs space {};
    if (one.pool.empty() || ::statvfs(path.c_str(), &space) != 0) return;
    auto [at, fresh] = mounts_.try_emplace(one.pool);
    if (fresh) at->second = find_mount(path);
    const metric_labels labels = {{"device", at->second.device}, {"fstype", at->second.type}, {"mountpoint", "/"}};
    auto block = static_cast<double>(space.f_frsize);
    out_.add(metric::filesystem_avail, static_cast<double>(space.f_bavail) * block, labels);
    out_.add(metric::filesystem_free, static_cast<double>(space.f_bfree) * block, labels);
    out_.add(metric::filesystem_size, static_cast<double>(space.f_blocks) * block, labels);
  }

  void measure_links(const running& one) {
    auto links = list_links_of(one.leader);
    if (!links) return;
    for (const link_facts& link : *links) {
      const metric_labels device = {{"device", link.name}};
      const std::pair<metric, uint64_t> values[] = {{metric::network_receive_bytes, link.counters.rx_bytes},
                                                    {metric::network_receive_drop, link.counters.rx_dropped},
                                                    {metric::network_receive_errs, link.counters.rx_errors},
                                                    {metric::network_receive_packets, link.counters.rx_packets},
                                                    {metric::network_transmit_bytes, link.counters.tx_bytes},
                                                    {metric::network_transmit_drop, link.counters.tx_dropped},
                                                    {metric::network_transmit_errs, link.counters.tx_errors},
                                                    {metric::network_transmit_packets, link.counters.tx_packets}};
      for (auto& [what, count] : values) out_.add(what, static_cast<double>(count), device);
    }
  }

  void measure_daemon() {
    out_.about({});
    out_.add(metric::operations, static_cast<double>(operations_));
    out_.add(metric::daemon_events, static_cast<double>(events_));
    std::chrono::duration<double> up = std::chrono::steady_clock::now() - with_.started;
    out_.add(metric::uptime_seconds, up.count());
    long pages = 0;
    std::ifstream{"/proc/self/statm"} >> pages >> pages;
    out_.add(metric::daemon_resident_bytes, static_cast<double>(pages) * static_cast<double>(::sysconf(_SC_PAGESIZE)));
    std::error_code none;
    std::filesystem::directory_iterator files{"/proc/self/fd", none};
    out_.add(metric::daemon_open_files, static_cast<double>(std::distance(begin(files), end(files))));
    measure_actors();
    for (auto& [name, lag] : lags_)
      out_.add(metric::subscription_lag, static_cast<double>(lag), {{"subscription", name}});
  }

  void measure_actors() {
    auto& counted = *with_.counted;
    for (auto& [part, box] : counted.mailboxes()) {
      out_.add(metric::mailbox_waiting, static_cast<double>(std::max<int64_t>(box->waiting, 0)), {{"actor", part}});
      out_.add(metric::mailbox_handled, static_cast<double>(box->handled), {{"actor", part}});
      out_.add(metric::mailbox_busy_seconds, static_cast<double>(box->busy_ns) / 1e9, {{"actor", part}});
    }
    for (auto& [what, sum] : counted.operations()) {
      auto result = what.second ? "success" : "failure";
      out_.add(metric::operations_ended, static_cast<double>(sum.count), {{"kind", what.first}, {"result", result}});
      out_.add(metric::operation_seconds, sum.seconds, {{"kind", what.first}, {"result", result}});
    }
    for (auto& [kind, count] : counted.restarts())
      out_.add(metric::actor_restarts, static_cast<double>(count), {{"actor", kind}});
  }

  static int64_t host_memory() {
    struct sysinfo host {};
    return ::sysinfo(&host) == 0 ? static_cast<int64_t>(host.totalram * host.mem_unit) : 0;
  }

  services& with_;
  open_metrics out_;
  std::vector<running> found_;
  std::map<std::string, mounted> mounts_; // by pool
  uint64_t events_ = 0;
  size_t operations_ = 0;
  std::vector<std::pair<std::string, uint64_t>> lags_; // of durable subscriptions
};

} // namespace

void get_metrics(const rest_request& from) {
  std::string only{from.http->parameter("project")};
  bool is_there =
      only.empty() || (may_measure(from.head->who, only) && from.with().db.read().get(table::projects, only));
  if (!is_there) return reply_error(from, {fault::not_found, "Project not found"});
  bool taken = from.with().blocking.submit([from, only] {
    http_response out;
    out.headers.emplace_back("Content-Type", "text/plain; charset=utf-8");
    out.body.emplace_back(scrape{from.with(), from.head->who, only}.text());
    from.answer.send(std::move(out));
  });
  if (!taken) reply_error(from, {fault::busy, "The server has too much to do right now; try again"});
}

} // namespace troupe
