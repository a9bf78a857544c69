#pragma once

#include "actors/instance.hpp"

namespace troupe {

// An instance's door of the guest API. In the instance's actor.

/// Before it runs; `folder` is empty if it shall have none, or cannot have one: that is no reason not to start.
void open_guest_door(const instance_ptr& me, const spec_record& spec, std::function<void(std::string folder)> then);
/// When it is down, before it can run again.
void close_guest_door(const instance_ptr& me, std::function<void()> then);
/// It has said that it is ready, or not any more: answered when that is on disk, so that nobody says it faster than it
/// is written. One event for each life, or a guest could push all others out of the log.
caf::response_promise note_ready(const instance_ptr& me, bool ready);

} // namespace troupe
