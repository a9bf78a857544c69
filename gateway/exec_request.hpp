#pragma once

#include "actors/instance.hpp"
#include "actors/operations.hpp"

namespace troupe {

// What every door makes of a wish to run a command; the streams are the door's own.

/// The plan without its descriptors; `key` is project/name. Errors: not_found, wrong_state, invalid, unsupported.
outcome<std::shared_ptr<exec_plan>> plan_exec(const snapshot& records, const std::string& key,
                                              schema::ExecInstance::Reader post);

/// The operation that stands for the command while it runs.
begin_live exec_operation(std::shared_ptr<const header> head, const std::string& name,
                          schema::ExecInstance::Reader post);

/// The same for a console.
begin_live console_operation(std::shared_ptr<const header> head, const std::string& name);

/// The width and height that a control message asks for; nullopt: it asks for something else.
std::optional<std::pair<uint16_t, uint16_t>> window_size_in(std::string_view control);

/// How an exec ends, from the command's status (-1: it could not be run).
outcome<void> judge_exec(int status);

} // namespace troupe
