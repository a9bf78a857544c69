#pragma once

#include "actors/instance.hpp"
#include "net/nic.hpp"

namespace troupe {

// The instance's state, its record, and the events that tell of both. In the instance's actor.

/// Assigns the state; the transition's event goes with the next commit of the status, at the latest behind this
/// message.
void enter(const instance_ptr& me, instance_state to);
/// The same by the table; false: it has no such row.
bool move(const instance_ptr& me, trigger on);
/// An undoing failed: the host may have more of this instance than its record tells.
void enter_error(const instance_ptr& me, const error& why);

/// The status for the state as it is now; `alive`: of the processes that have just begun.
status_record status_now(const instance_ptr& me, const boot_result* alive = nullptr);

/// The status and `action` as what a step adds to its saga's commit. The requestor stands in the event; without a head
/// it is nobody.
std::shared_ptr<step_result> result_with(const instance_ptr& me, std::string_view action);
std::shared_ptr<step_result> result_with(const instance_ptr& me, const header& head, std::string_view action);

/// Commits the status and `action`, of what happened without an operation.
void record_unasked(const instance_ptr& me, std::string_view action, config_map context = {});
/// Commits the status with the reason of its state.
void record_state(const instance_ptr& me, const std::string& reason);

// instance_host.cpp: the processes and links that a life has on the host.

/// Is told of the end of these processes; a new life begins.
void watch(const instance_ptr& me, boot_result& alive);
/// The last life is over: its record, and what it left on the host.
void settle_down(const instance_ptr& me);
/// The host's ends of the cards that it has or should have.
std::vector<nic_link> host_links_of(const instance_data& me);

} // namespace troupe
