#pragma once

#include "actors/operations.hpp"

#include <deque>

namespace troupe {

/// Who is about to begin an operation under a request id: one at a time, the others wait for what comes of it. What has
/// begun is known to the store, not here. Lives in the operations actor.
class request_claims {
public:
  request_claims(services& with, caf::event_based_actor* self) : with_{with}, self_{self} {}

  caf::result<claim_answer> take(const claim_request& request);
  void release(const release_claim& gone);

private:
  using promise = sure_promise;
  struct waiter {
    claim_request request;
    promise answer;
  };
  struct claim {
    uint64_t number = 0;
    std::string digest;
    std::deque<waiter> waiting;
  };

  outcome<std::optional<claim_answer>> begun(const std::string& key, const header& head) const;
  claim_answer grant(const std::string& key, const header& head);

  services& with_;
  caf::event_based_actor* self_;
  std::map<std::string, claim> held_;
  uint64_t next_ = 1;
};

} // namespace troupe
