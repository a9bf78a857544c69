#pragma once

#include "messages/error.hpp"

#include <string>

namespace troupe {

struct key_pair { // PEM texts
  std::string certificate, key;
};

/// The server's own certificate and key, FOLDER/server.crt and FOLDER/server.key; made (EC P-384, ten years, with the
/// host's name and addresses) if neither is there. One without the other is fault::wrong_state: to make a new identity
/// would lock out every client. Blocks on files.
outcome<key_pair> load_or_make_server_certificate(const std::string& folder, const std::string& host_name);

} // namespace troupe
