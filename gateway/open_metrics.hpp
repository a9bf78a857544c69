#pragma once

#include <array>
#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>

namespace troupe {

/// Everything /1.0/metrics tells, in the order in which it does; names and labels are LXD's where LXD has them, those
/// beginning with troupe_ are our own. One row per value in open_metrics.cpp.
enum class metric : uint8_t {
  cpu_seconds,
  disk_read_bytes,
  disk_reads_completed,
  disk_written_bytes,
  disk_writes_completed,
  filesystem_avail,
  filesystem_free,
  filesystem_size,
  memory_active_anon,
  memory_active_file,
  memory_active,
  memory_cached,
  memory_dirty,
  memory_inactive_anon,
  memory_inactive_file,
  memory_inactive,
  memory_mapped,
  memory_available,
  memory_free,
  memory_total,
  memory_rss,
  memory_shmem,
  memory_swap,
  memory_unevictable,
  memory_writeback,
  memory_oom_kills,
  network_receive_bytes,
  network_receive_drop,
  network_receive_errs,
  network_receive_packets,
  network_transmit_bytes,
  network_transmit_drop,
  network_transmit_errs,
  network_transmit_packets,
  procs,
  operations,
  uptime_seconds,
  instances,
  daemon_resident_bytes,
  daemon_open_files,
  daemon_events,
  mailbox_waiting,
  mailbox_handled,
  mailbox_busy_seconds,
  operations_ended,
  operation_seconds,
  actor_restarts,
  subscription_lag,
};

using metric_labels = std::initializer_list<std::pair<std::string_view, std::string_view>>;

/// An exposition in the making. Samples may come in any order; each family's are together in the text.
class open_metrics {
public:
  /// Labels that belong to every sample that follows.
  void about(metric_labels common);
  void add(metric what, double value, metric_labels labels = {});
  /// The whole text, "# EOF" included.
  std::string take() &&;

private:
  std::string common_;
  std::array<std::string, static_cast<size_t>(metric::subscription_lag) + 1> samples_;
};

} // namespace troupe
