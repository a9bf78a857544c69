#pragma once

#include "messages/error.hpp"

#include <string>
#include <string_view>

namespace troupe {

/// What the tables show of a certificate, and how it is sent.
struct certificate_facts {
  std::string common_name;
  std::string from, until; // "2026-01-31"
  std::string base64;      // of the DER form
};

outcome<certificate_facts> read_certificate(std::string_view pem);
outcome<certificate_facts> load_certificate(const std::string& path);
std::string to_base64(std::string_view bytes);

} // namespace troupe
