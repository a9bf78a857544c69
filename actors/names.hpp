#pragma once

#include "messages/error.hpp"

#include <string>
#include <string_view>
#include <vector>

namespace troupe {

/// A host name label: 1-63 letters, digits and dashes, starting with a letter, not ending with a dash (LXD's rule for
/// instances).
outcome<void> check_instance_name(std::string_view name);
/// Profiles, pools, networks, projects, devices: 1-63 of letters, digits, and `-_.:` , no leading dash or dot. `noun`
/// starts the sentence.
outcome<void> check_plain_name(std::string_view noun, std::string_view name);
/// Image aliases: any printable text without whitespace at the ends; '/' is allowed, "..", empty parts and control
/// characters are not.
outcome<void> check_alias_name(std::string_view name);
/// No profile twice.
outcome<void> check_distinct(std::string_view noun, const std::vector<std::string>& names);
/// Free text fields: no control characters but newline and tab.
outcome<void> check_text(std::string_view field, std::string_view value);

/// A value that is sent in an HTTP header: printable ASCII.
outcome<void> check_header_value(std::string_view field, std::string_view value);
/// The parts of a list with commas between them, without the spaces around them.
std::vector<std::string> words_of(std::string_view list);

/// A random, readable name ("brisk-otter") for an instance that was given none.
std::string random_instance_name();
/// A locally administered MAC of the 00:16:3e range.
std::string random_mac();
bool is_mac(std::string_view value);

} // namespace troupe
