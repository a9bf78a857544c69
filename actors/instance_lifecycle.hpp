#pragma once

#include "messages/instance.capnp.h"

#include <optional>
#include <string_view>

namespace troupe {

using instance_state = schema::InstanceStatus::State;

enum class trigger : uint8_t {
  start,
  started,
  stop,
  force_stop,
  exited,
  freeze,
  frozen,
  thaw,
  thawed,
  failed,
  still_running,
  undo_failed
};

struct instance_transition {
  instance_state from;
  trigger on;
  instance_state to;
};

/// The whole life of an instance. A pair that is absent is refused, with the sentence of `refusal`.
inline constexpr instance_transition instance_transitions[] = {
    {instance_state::STOPPED, trigger::start, instance_state::STARTING},
    {instance_state::ERROR, trigger::start, instance_state::STARTING},
    {instance_state::STARTING, trigger::started, instance_state::RUNNING},
    {instance_state::STARTING, trigger::failed, instance_state::STOPPED},
    {instance_state::STARTING, trigger::exited, instance_state::STOPPED},
    {instance_state::RUNNING, trigger::stop, instance_state::STOPPING},
    {instance_state::RUNNING, trigger::force_stop, instance_state::STOPPING},
    {instance_state::RUNNING, trigger::exited, instance_state::STOPPED},
    {instance_state::RUNNING, trigger::freeze, instance_state::FREEZING},
    {instance_state::RUNNING, trigger::started, instance_state::RUNNING}, // rebooted from inside
    {instance_state::FREEZING, trigger::frozen, instance_state::FROZEN},
    {instance_state::FREEZING, trigger::failed, instance_state::RUNNING},
    {instance_state::FREEZING, trigger::exited, instance_state::STOPPED},
    {instance_state::FROZEN, trigger::thaw, instance_state::THAWING},
    {instance_state::FROZEN, trigger::stop, instance_state::STOPPING},
    {instance_state::FROZEN, trigger::force_stop, instance_state::STOPPING},
    {instance_state::FROZEN, trigger::exited, instance_state::STOPPED},
    {instance_state::THAWING, trigger::thawed, instance_state::RUNNING},
    {instance_state::THAWING, trigger::failed, instance_state::FROZEN},
    {instance_state::THAWING, trigger::exited, instance_state::STOPPED},
    {instance_state::STOPPING, trigger::force_stop, instance_state::STOPPING},
    {instance_state::STOPPING, trigger::exited, instance_state::STOPPED},
    {instance_state::STOPPING, trigger::still_running, instance_state::RUNNING}, // it did not stop in time
    {instance_state::STOPPING, trigger::started, instance_state::RUNNING},       // it rebooted instead
    // What a step did could not be undone: nobody knows what runs.
    {instance_state::STOPPED, trigger::undo_failed, instance_state::ERROR},
    {instance_state::STARTING, trigger::undo_failed, instance_state::ERROR},
    {instance_state::RUNNING, trigger::undo_failed, instance_state::ERROR},
    {instance_state::STOPPING, trigger::undo_failed, instance_state::ERROR},
    {instance_state::FREEZING, trigger::undo_failed, instance_state::ERROR},
    {instance_state::FROZEN, trigger::undo_failed, instance_state::ERROR},
    {instance_state::THAWING, trigger::undo_failed, instance_state::ERROR},
    {instance_state::ERROR, trigger::exited, instance_state::STOPPED}, // a later try could undo it
};

constexpr std::optional<instance_state> next(instance_state from, trigger on) {
  for (auto& row : instance_transitions)
    if (row.from == from && row.on == on) return row.to;
  return std::nullopt;
}
static_assert(!next(instance_state::RUNNING, trigger::start), "a running instance is not started twice");
static_assert(!next(instance_state::STOPPED, trigger::stop), "a stopped instance is not stopped");

/// LXD's word and number of a state.
struct instance_status_word {
  instance_state state;
  std::string_view word;
  int code;
  std::string_view refusal; // why a request does not fit, as a sentence
};
inline constexpr instance_status_word instance_status_words[] = {
    {instance_state::STOPPED, "Stopped", 102, "The instance is not running"},
    {instance_state::STARTING, "Starting", 106, "The instance is starting: wait, or stop it with force"},
    {instance_state::RUNNING, "Running", 103, "The instance is already running"},
    {instance_state::STOPPING, "Stopping", 107, "The instance is stopping: wait, or stop it with force"},
    {instance_state::FREEZING, "Freezing", 109, "The instance is being frozen: wait"},
    {instance_state::FROZEN, "Frozen", 110, "The instance is frozen"},
    {instance_state::ERROR, "Error", 112, "The instance is in an error state"},
    {instance_state::THAWING, "Thawed", 111, "The instance is being thawed: wait"},
};
constexpr const instance_status_word& words_of(instance_state state) {
  for (auto& row : instance_status_words)
    if (row.state == state) return row;
  return instance_status_words[0];
}

} // namespace troupe
