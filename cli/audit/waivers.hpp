#pragma once

#include "messages/error.hpp"

#include <string>
#include <string_view>
#include <vector>

namespace troupe::audit {

/// What somebody has looked at and accepts. A file of lines "CHECK SUBJECT REASON", the subject "*" for all or in
/// quotes if it has spaces; empty lines and those with # in front say nothing.
///
/// It is a file on the host, and no key of the things themselves: else who may set a tenant's keys could silence what
/// is found in them.
struct waiver {
  std::string check, subject, reason;
  bool used = false;
};

/// No such file: no waivers. fault::invalid: a line does not parse or gives no reason, or names a check that there is
/// not; forbidden: others than its owner can write to the file.
outcome<std::vector<waiver>> load_waivers(const std::string& path);

/// The reason; null: it is not waived.
const std::string* find_waiver(std::vector<waiver>& all, std::string_view check, std::string_view subject);

} // namespace troupe::audit
