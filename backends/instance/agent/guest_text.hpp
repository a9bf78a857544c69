#pragma once

#include "backends/instance/instance_driver.hpp"
#include "messages/agent.capnp.h"

namespace troupe::guest {

// What a guest says, as far as it may be shown: short, valid UTF-8 without control characters, and not too much of it.

constexpr size_t sentence_bytes_max = 500;

std::string tame(std::string text, size_t most);
error tame(error why);
outcome<void> outcome_of(schema::Error::Reader from);
guest_report report_of(Report::Reader from);
/// Refuses what no file is.
outcome<file_info> tame(file_info info);

} // namespace troupe::guest
