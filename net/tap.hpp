#pragma once

#include "messages/unique_fd.hpp"
#include "net/nic.hpp"

namespace troupe {

/// Makes the link that a virtual machine's card ends in on the host: a tap, up, on its bridge, with its mark. It is
/// there for as long as somebody holds the descriptor. already_exists: there is a link of that name. Blocks.
outcome<unique_fd> open_tap(const nic_link& nic);

} // namespace troupe
