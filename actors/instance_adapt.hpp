#pragma once

#include "actors/instance.hpp"

namespace troupe {

// A running instance follows its record. In the instance's actor.

/// What of an effective config a life can be told from another by: devices, limits, and what names its cards.
expansion live_part(const expansion& effective);
/// An expansion as arguments of a step, and back.
config_map to_arguments(const expansion& live);
expansion from_arguments(const config_map& args);

/// The name of the instance's own firewall tables.
std::string table_of(const instance_data& me);
live_instance live_instance_of(const instance_data& me);
/// A forwarder of that life has ended: it is started again.
std::function<void(const std::string&)> restarts_forwarders(const instance_ptr& me, uint64_t life);

/// Gives the instance what `to` says, and remembers it; one change after the other.
void adapt(const instance_ptr& me, expansion to, bool repair, std::vector<expansion> also_from,
           std::function<void(outcome<void>)> then);
/// The record, after what its profiles have brought since has got its addresses and names, on disk.
void settle_record(const instance_ptr& me, std::function<void(outcome<spec_record>)> then);
/// Gives it what the record says now; errors are logged, and it keeps what it had.
void follow_record(const instance_ptr& me, std::function<void()> then);
/// Devices of the host have come or gone: usb, unix-hotplug and gpu devices follow.
void follow_devices(const instance_ptr& me);
/// After a reboot from inside it has what it was booted with, and after a restart of the daemon nobody looks after its
/// forwarders.
void recover_life(const instance_ptr& me, bool rebooted);

/// The status with what the instance has.
status_record with_life(const instance_data& me, const status_record& status);
/// The same, read back.
void restore_life(instance_data& me, const status_record& recorded);

} // namespace troupe
