#pragma once

#include "messages/error.hpp"

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace troupe {

/// What we need to know of an X.509 certificate; parsed once, then a value. Times are seconds since the epoch.
struct certificate {
  std::string der;
  std::string fingerprint; // SHA-256 of `der`, lower-case hexadecimal: the name under which it is trusted
  std::string common_name;
  std::vector<std::string> dns_names;
  int64_t valid_from = 0, valid_until = 0;
  bool for_clients = false; // its key usages allow to prove who a TLS client is
  bool strong = false;      // RSA from 2048 bits, elliptic curves from 224
};

/// DER, or PEM text (its first certificate). fault::invalid.
outcome<certificate> parse_certificate(std::string_view bytes);
/// Base64 of the DER form (how REST carries them); PEM text is taken as well.
outcome<certificate> decode_certificate(std::string_view text);
std::string to_pem(const certificate& from);

/// May somebody prove with it who he is, at that time? fault::forbidden, with the reason.
outcome<void> judge_client_certificate(const certificate& shown, int64_t now);

} // namespace troupe
