#pragma once

#include "runtime/certificate.hpp"

#include <memory>
#include <string>

struct x509_store_st;

namespace troupe {

/// Who may vouch for clients (`server.ca`), and what it has revoked (`ca.crl`). Immutable; any thread.
class certificate_authority {
public:
  /// Null if the folder has no server.ca. fault::invalid when a file is there and does not parse: to go on without it
  /// would open the door.
  static outcome<std::shared_ptr<const certificate_authority>> load(const std::string& folder);
  ~certificate_authority();

  /// Signed by it, for TLS clients, valid now, and not revoked. Some 100 us.
  bool vouches_for(const certificate& shown) const;
  bool operator==(const certificate_authority& other) const { return texts_ == other.texts_; }

private:
  certificate_authority() = default;

  x509_store_st* store_ = nullptr;
  std::string texts_;
};

} // namespace troupe
