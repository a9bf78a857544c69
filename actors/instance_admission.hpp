#pragma once

#include "actors/project_use.hpp"

namespace troupe {

/// An instance as it is wanted, as far as its project has a say in it.
struct instance_draft {
  std::string project;
  schema::InstanceType type = schema::InstanceType::CONTAINER;
  std::vector<std::string> profiles;
  config_map config;
  device_map devices;
};

/// What it would take of its project's limits, if it makes sense (check_expanded) and its project allows it (judge).
outcome<project_use> judge_draft(const snapshot& records, const instance_draft& draft);

/// For saga::admit: judged again, and the marks of whoever enters a project. `granted`: what it may take at most where
/// there are limits; none: nothing was asked for, as there were no limits. fault::busy if more is needed now.
outcome<batch> admit_draft(const snapshot& records, const instance_draft& draft,
                           const std::optional<project_use>& granted);

} // namespace troupe
