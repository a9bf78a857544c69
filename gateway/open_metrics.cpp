#include "gateway/open_metrics.hpp"

#include <cmath>
#include <cstdio>
#include <iterator>

namespace troupe {
namespace {

struct family {
  metric id;
  std::string_view name;
  std::string_view type;
  std::string_view help;
};

constexpr std::string_view counter = "counter", gauge = "gauge";

constexpr family families[] = {
    {metric::cpu_seconds, "lxd_cpu_seconds_total", counter, "CPU time used, in seconds"},
    {metric::disk_read_bytes, "lxd_disk_read_bytes_total", counter, "Bytes read"},
    {metric::disk_reads_completed, "lxd_disk_reads_completed_total", counter, "Completed reads"},
    {metric::disk_written_bytes, "lxd_disk_written_bytes_total", counter, "Bytes written"},
    {metric::disk_writes_completed, "lxd_disk_writes_completed_total", counter, "Completed writes"},
    {metric::filesystem_avail, "lxd_filesystem_avail_bytes", gauge, "Bytes available to those without privileges"},
    {metric::filesystem_free, "lxd_filesystem_free_bytes", gauge, "Free bytes"},
    {metric::filesystem_size, "lxd_filesystem_size_bytes", gauge, "Size of the file system in bytes"},
    {metric::memory_active_anon, "lxd_memory_Active_anon_bytes", gauge, "Anonymous memory on the active list"},
    {metric::memory_active_file, "lxd_memory_Active_file_bytes", gauge, "File-backed memory on the active list"},
    {metric::memory_active, "lxd_memory_Active_bytes", gauge, "Memory on the active list"},
    {metric::memory_cached, "lxd_memory_Cached_bytes", gauge, "Cached memory"},
    {metric::memory_dirty, "lxd_memory_Dirty_bytes", gauge, "Memory that waits to be written back"},
    {metric::memory_inactive_anon, "lxd_memory_Inactive_anon_bytes", gauge, "Anonymous memory on the inactive list"},
    {metric::memory_inactive_file, "lxd_memory_Inactive_file_bytes", gauge, "File-backed memory on the inactive list"},
    {metric::memory_inactive, "lxd_memory_Inactive_bytes", gauge, "Memory on the inactive list"},
    {metric::memory_mapped, "lxd_memory_Mapped_bytes", gauge, "Mapped memory"},
    {metric::memory_available, "lxd_memory_MemAvailable_bytes", gauge, "Available memory"},
    {metric::memory_free, "lxd_memory_MemFree_bytes", gauge, "Free memory"},
    {metric::memory_total, "lxd_memory_MemTotal_bytes", gauge, "Memory that may be used"},
    {metric::memory_rss, "lxd_memory_RSS_bytes", gauge, "Anonymous and swap cache memory"},
    {metric::memory_shmem, "lxd_memory_Shmem_bytes", gauge, "Cached memory that swap backs"},
    {metric::memory_swap, "lxd_memory_Swap_bytes", gauge, "Used swap"},
    {metric::memory_unevictable, "lxd_memory_Unevictable_bytes", gauge, "Memory that cannot be reclaimed"},
    {metric::memory_writeback, "lxd_memory_Writeback_bytes", gauge, "Memory that is being written back"},
    {metric::memory_oom_kills, "lxd_memory_OOM_kills_total", counter, "Processes killed for want of memory"},
    {metric::network_receive_bytes, "lxd_network_receive_bytes_total", counter, "Bytes received"},
    {metric::network_receive_drop, "lxd_network_receive_drop_total", counter, "Received packets that were dropped"},
    {metric::network_receive_errs, "lxd_network_receive_errs_total", counter, "Errors of receiving"},
    {metric::network_receive_packets, "lxd_network_receive_packets_total", counter, "Packets received"},
    {metric::network_transmit_bytes, "lxd_network_transmit_bytes_total", counter, "Bytes sent"},
    {metric::network_transmit_drop, "lxd_network_transmit_drop_total", counter, "Packets to be sent that were dropped"},
    {metric::network_transmit_errs, "lxd_network_transmit_errs_total", counter, "Errors of sending"},
    {metric::network_transmit_packets, "lxd_network_transmit_packets_total", counter, "Packets sent"},
    {metric::procs, "lxd_procs_total", gauge, "Running processes"},
    {metric::operations, "lxd_operations_total", gauge, "Operations under way"},
    {metric::uptime_seconds, "lxd_uptime_seconds", gauge, "Seconds since the daemon started"},
    {metric::instances, "lxd_instances", gauge, "Instances"},
    {metric::daemon_resident_bytes, "troupe_resident_bytes", gauge, "Resident memory of the daemon"},
    {metric::daemon_open_files, "troupe_open_files", gauge, "Open file descriptors of the daemon"},
    {metric::daemon_events, "troupe_events_total", counter, "Events written to the event log since it began"},
    {metric::mailbox_waiting, "troupe_mailbox_waiting_messages", gauge, "Messages that a part has not handled yet"},
    {metric::mailbox_handled, "troupe_mailbox_handled_messages_total", counter, "Messages that a part has handled"},
    {metric::mailbox_busy_seconds, "troupe_mailbox_busy_seconds_total", counter, "Time a part has spent handling them"},
    {metric::operations_ended, "troupe_operations_ended_total", counter, "Operations that have ended"},
    {metric::operation_seconds, "troupe_operations_seconds_total", counter, "Time from their acceptance to their end"},
    {metric::actor_restarts, "troupe_actor_restarts_total", counter, "Actors that failed and were started anew"},
    {metric::subscription_lag, "troupe_subscription_lag_events", gauge,
     "Events behind a durable subscription's cursor"},
};

constexpr bool in_enum_order() {
  for (size_t i = 0; i < std::size(families); ++i)
    if (static_cast<size_t>(families[i].id) != i) return false;
  return std::size(families) == static_cast<size_t>(metric::subscription_lag) + 1;
}
static_assert(in_enum_order());

void append_labels(std::string& out, metric_labels labels) {
  for (auto& [name, value] : labels) {
    if (!out.empty()) out += ',';
    out.append(name).append("=\"");
    for (char c : value) {
      if (c == '\n') {
        out += "\\n";
        continue;
      }
      if (c == '"' || c == '\\') out += '\\';
      out += c;
    }
    out += '"';
  }
}

void append_number(std::string& out, double value) {
  char text[32];
  bool whole = value == std::floor(value) && std::abs(value) < 9.1e15;
  std::snprintf(text, sizeof text, whole ? "%.0f" : "%.9g", value);
  out += text;
}

} // namespace

void open_metrics::about(metric_labels common) {
  common_.clear();
  append_labels(common_, common);
}

void open_metrics::add(metric what, double value, metric_labels labels) {
  auto& out = samples_[static_cast<size_t>(what)];
  out.append(families[static_cast<size_t>(what)].name);
  std::string all;
  append_labels(all, labels);
  if (!common_.empty()) all.append(all.empty() ? "" : ",").append(common_);
  if (!all.empty()) out.append("{").append(all).append("}");
  out += ' ';
  append_number(out, value);
  out += '\n';
}

std::string open_metrics::take() && {
  std::string out;
  for (const family& each : families) {
    auto& samples = samples_[static_cast<size_t>(each.id)];
    if (samples.empty()) continue;
    out.append("# HELP ").append(each.name).append(" ").append(each.help).append("\n");
    out.append("# TYPE ").append(each.name).append(" ").append(each.type).append("\n");
    out += samples;
  }
  return out + "# EOF\n";
}

} // namespace troupe
