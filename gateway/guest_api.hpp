#pragma once

#include "actors/records.hpp"
#include "actors/services.hpp"
#include "gateway/guest_events.hpp"
#include "gateway/http_server.hpp"

namespace troupe {

/// One request of an instance's root about itself.
struct guest_request {
  services& with;
  guest_events& events;
  http_request http;
  responder answer;
  std::string project, name;
  message<schema::InstanceSpec> spec;
  expansion effective; // its configuration and devices with the profiles'
};

/// Answers it: plain JSON or text without envelopes (rest-api "Guest API"). Must not block.
void answer_guest(const std::shared_ptr<guest_request>& from);

/// An error is a line of text.
http_response guest_error(int status, const std::string& sentence);

} // namespace troupe
