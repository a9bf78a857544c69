#pragma once

#include "messages/config_map.hpp"
#include "messages/error.hpp"

#include <string_view>

namespace troupe {

/// What `-t TYPE` stands for as limits: "c2-m4" (two CPUs, four GiB; either part may be missing), or the name of a
/// size that a public cloud sells, "t3.micro" or "aws:t3.micro". fault::invalid: there is no such type.
outcome<config_map> limits_of_type(std::string_view type);

} // namespace troupe
