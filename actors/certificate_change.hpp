#pragma once

#include "actors/certificates.hpp"

namespace troupe {

/// Judges the change against the records and makes a saga of it; it has no steps, so that it is one commit.
outcome<std::shared_ptr<saga>> plan_certificate(const snapshot& records, const change_certificate& request);
/// The parts of a request that concern what a certificate (or a token) may be.
outcome<void> check_certificate(const snapshot& records, schema::CertificatePut::Reader put);

} // namespace troupe
