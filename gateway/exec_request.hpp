#pragma once

#include "actors/instance.hpp"
#include "actors/operations.hpp"

#include <array>

namespace troupe {

// What every door makes of a wish to run a command; the streams are the door's own.

/// The plan without its descriptors; `key` is project/name. Errors: not_found, wrong_state, invalid, unsupported.
outcome<std::shared_ptr<exec_plan>> plan_exec(const snapshot& records, const std::string& key,
                                              schema::ExecInstance::Reader post);

/// The operation that stands for the command while it runs.
begin_live exec_operation(std::shared_ptr<const header> head, schema::InstanceType type, const std::string& name,
                          schema::ExecInstance::Reader post);

/// Where the output of a command goes.
enum class exec_output : uint8_t { streams, nowhere, recording };

/// What a daemon needs to know of a command to go on with it. It lies with what runs the command, in memory only: the
/// secrets are on no disk.
struct exec_facts {
  std::string project, instance, owner; // owner: the user who began it
  exec_output output = exec_output::streams;
  bool interactive = false;
  std::map<std::string, std::string> secrets;
  operation_record operation;
};
std::string note_of(const exec_facts& what);
outcome<exec_facts> facts_in(const std::string& note);

/// Has the plan's command outlive us, and its ends with it.
void outlive(exec_plan& plan, const exec_facts& what, const std::array<int, 3>& ends);

/// The same for a console.
begin_live console_operation(std::shared_ptr<const header> head, schema::InstanceType type, const std::string& name);

/// The width and height that a control message asks for; nullopt: it asks for something else.
std::optional<std::pair<uint16_t, uint16_t>> window_size_in(std::string_view control);

/// Whether he may sit down at what the operation stands for: as if he ran a command in that instance. not_found: he may
/// not even see it, or it has ended; unsupported: it is no command.
outcome<void> judge_attach(const principal& who, const outcome<operation_record>& found);

/// How an exec ends, from the command's status (-1: it could not be run).
outcome<void> judge_exec(int status);

} // namespace troupe
