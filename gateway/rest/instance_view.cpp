#include "gateway/rest/instance_view.hpp"

#include "actors/instance_backup.hpp"
#include "actors/instance_lifecycle.hpp"
#include "actors/instance_snapshot.hpp"
#include "actors/lifecycle_event.hpp"
#include "actors/pools.hpp"
#include "gateway/link_addresses.hpp"
#include "gateway/machine_links.hpp"
#include "gateway/rest/lists.hpp"
#include "messages/json.hpp"
#include "messages/time.hpp"
#include "net/links.hpp"

namespace troupe {
namespace {

// An instance that has said so is ready, which LXD shows as a state of its own.
status_word shown_status(schema::InstanceStatus::Reader status) {
  if (status.getState() == instance_state::RUNNING && status.getReady()) return {"Ready", 113};
  auto& words = words_of(status.getState());
  return {words.word, words.code};
}

void write_devices(std::string& out, const device_map& devices) {
  write_json_name(out, "expanded_devices");
  out += '{';
  for (auto& [name, device] : devices) write_map(out, name, device);
  out += '}';
}

void write_status(std::string& out, schema::InstanceStatus::Reader status) {
  auto shown = shown_status(status);
  write_json_name(out, "status");
  write_json_string(out, shown.word);
  write_json_name(out, "status_code");
  out += std::to_string(shown.code);
}

void write_fields(std::string& out, expander& expand, schema::InstanceSpec::Reader spec, const status_record& status) {
  write_json_fields(out, spec);
  status.read([&](schema::InstanceStatus::Reader s) {
    write_status(out, s);
    write_json_name(out, "last_used_at");
    write_json_string(out, to_rfc3339(s.getLastUsedAt()));
  });
  auto effective = expand(spec);
  write_map(out, "expanded_config", effective.config);
  write_devices(out, effective.devices);
}

void write_snapshots(std::string& out, const snapshot& records, schema::InstanceSpec::Reader spec) {
  auto project = text(spec.getProject());
  write_json_name(out, "snapshots");
  out += '[';
  for (auto& taken : snapshots_of(records, project, view(spec.getName()))) {
    if (out.back() == '}') out += ',';
    write_snapshot(out, records, project, taken);
  }
  out += ']';
}

void write_backups(std::string& out, const snapshot& records, schema::InstanceSpec::Reader spec) {
  write_json_name(out, "backups");
  out += '[';
  for (auto& each : backups_of(records, view(spec.getProject()), view(spec.getName()))) {
    if (out.back() == '}') out += ',';
    each.read([&](auto b) { write_json(out, b); });
  }
  out += ']';
}

void fill_interface(schema::InstanceState::Interface::Builder into, const link_facts& link,
                    const std::string& host_name) {
  into.setHwaddr(link.hwaddr);
  into.setHostName(host_name);
  into.setMtu(link.mtu);
  into.setState(link.up ? "up" : "down");
  into.setType(link.type);
  fill_addresses(into, link);
  auto counters = into.initCounters();
  counters.setBytesReceived(link.counters.rx_bytes);
  counters.setBytesSent(link.counters.tx_bytes);
  counters.setPacketsReceived(link.counters.rx_packets);
  counters.setPacketsSent(link.counters.tx_packets);
  counters.setErrorsReceived(link.counters.rx_errors);
  counters.setErrorsSent(link.counters.tx_errors);
  counters.setPacketsDroppedInbound(link.counters.rx_dropped);
  counters.setPacketsDroppedOutbound(link.counters.tx_dropped);
}

// The host's end of each card is found by the MAC that the records gave it.
std::string host_name_of(const expansion& effective, const std::string& hwaddr) {
  for (auto& [device, config] : effective.devices) {
    if (get(config, "type") != "nic") continue;
    auto prefix = "volatile." + device;
    auto mac = get(config, "hwaddr", get(effective.config, prefix + ".hwaddr"));
    if (mac == hwaddr) return std::string{get(config, "host_name", get(effective.config, prefix + ".host_name"))};
  }
  return {};
}

} // namespace

void write_instance(std::string& out, expander& expand, schema::InstanceSpec::Reader spec,
                    const status_record& status) {
  out += '{';
  write_fields(out, expand, spec, status);
  out += '}';
}

void write_snapshot(std::string& out, const snapshot& records, const std::string& project,
                    const message<schema::SnapshotSpec>& taken) {
  out += '{';
  taken.read([&](schema::SnapshotSpec::Reader s) {
    write_json_fields(out, s);
    auto effective =
        expand(records, project, to_vector(s.getProfiles()), to_map(s.getConfig()), to_map(s.getDevices()));
    write_map(out, "expanded_config", effective.config);
    write_devices(out, effective.devices);
  });
  out += '}';
}

namespace {

// Only where the pool knows it without walking through the volume.
void fill_root_usage(schema::InstanceState::Builder out, services& with, expander& expand,
                     schema::InstanceSpec::Reader spec) {
  auto pool = load<schema::PoolSpec>(expand.records(), table::pools, view(spec.getPool()));
  if (!pool) return;
  auto driver = pool->read([&](schema::PoolSpec::Reader p) {
    return make_driver(with, text(p.getName()), text(p.getDriver()), to_map(p.getConfig()));
  });
  auto root = volume_named(volume_word(spec.getType(), instance_key(view(spec.getProject()), view(spec.getName()))));
  auto used = driver ? driver->quick_usage(root) : std::nullopt;
  if (!used) return;
  for (auto& [name, device] : expand(spec).devices) {
    if (get(device, "type") != "disk" || get(device, "path") != "/") continue;
    auto row = out.initDisk(1)[0];
    row.setName(name);
    row.initValue().setUsage(static_cast<int64_t>(*used));
    return;
  }
}

} // namespace

namespace {

// What the guest itself says of its processes and memory means more than what QEMU takes of the host.
void take_report(instance_driver::usage& used, const guest_report& told) {
  used.processes = told.processes;
  used.memory = told.memory_used;
  used.memory_peak = told.memory_peak;
  used.swap = told.swap_used;
  used.swap_peak = 0;
}

} // namespace

message<schema::InstanceState> measure_state(services& with, expander& expand, schema::InstanceSpec::Reader spec,
                                             const status_record& status) {
  auto leader = status.read([](schema::InstanceStatus::Reader s) { return s.getLeader(); });
  return message<schema::InstanceState>::make([&](schema::InstanceState::Builder out) {
    auto shown = status.read([](auto s) { return shown_status(s); });
    out.setStatus(std::string{shown.word});
    out.setStatusCode(shown.code);
    fill_root_usage(out, with, expand, spec);
    if (leader <= 0) return;
    auto key = instance_key(view(spec.getProject()), view(spec.getName()));
    auto used = with.driver(spec.getType()).measure(key, leader);
    bool machine = spec.getType() == schema::InstanceType::VIRTUAL_MACHINE;
    auto told = machine ? with.machines.ask_guest(key) : std::nullopt;
    if (told) take_report(used, *told);
    out.setPid(leader);
    out.setProcesses(used.processes);
    out.initCpu().setUsage(used.cpu_ns);
    auto memory = out.initMemory();
    memory.setUsage(used.memory);
    memory.setUsagePeak(used.memory_peak);
    memory.setSwapUsage(used.swap);
    memory.setSwapUsagePeak(used.swap_peak);
    auto effective = expand(spec);
    auto links = machine ? links_of_machine(with, told, effective) : list_links_of(leader);
    if (!links) return;
    auto list = out.initNetwork(static_cast<unsigned>(links->size()));
    for (unsigned i = 0; i < links->size(); ++i) {
      list[i].setName((*links)[i].name);
      fill_interface(list[i].initValue(), (*links)[i], host_name_of(effective, (*links)[i].hwaddr));
    }
  });
}

void write_instance_full(std::string& out, services& with, expander& expand, schema::InstanceSpec::Reader spec,
                         const status_record& status) {
  out += '{';
  write_fields(out, expand, spec, status);
  write_backups(out, expand.records(), spec);
  write_snapshots(out, expand.records(), spec);
  out += R"(,"state":)";
  measure_state(with, expand, spec, status).read([&](auto state) { write_json(out, state); });
  out += '}';
}

} // namespace troupe
