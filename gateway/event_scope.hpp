#pragma once

#include "messages/envelope.hpp"
#include "messages/error.hpp"

#include <string>
#include <string_view>
#include <vector>

namespace troupe {

/// The subjects of a project's stream, when none are named: the project's, and the server's for who may see all of it.
std::vector<std::string> usual_subjects(const principal& who, const std::string& project);

/// Who is restricted sees what his projects are, and nothing of the server. fault::forbidden.
outcome<void> judge_event_scope(const principal& who, bool durable, const std::vector<std::string>& subjects);

/// May he follow what happens there? Empty: what belongs to no project, but to the server.
bool may_follow(const principal& who, std::string_view project);

} // namespace troupe
