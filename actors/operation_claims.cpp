#include "actors/operation_claims.hpp"

#include "actors/operation_record.hpp"
#include "actors/records.hpp"

#include <algorithm>
#include <caf/event_based_actor.hpp>

namespace troupe {
namespace {

constexpr size_t id_max = 128;

outcome<void> check_id(std::string_view id) {
  bool printable = std::all_of(id.begin(), id.end(), [](char c) { return c > ' ' && c < 0x7f; });
  if (id.empty() || id.size() > id_max || !printable)
    return fail(fault::invalid, "A request id must be 1 to 128 printable characters without spaces");
  return {};
}

error reused() { return {fault::already_exists, "This request id was used for another request"}; }

} // namespace

// nullopt: nothing has begun under this id yet.
outcome<std::optional<claim_answer>> request_claims::begun(const std::string& key, const header& head) const {
  auto records = with_.db.read();
  auto row = records.get(table::operation_requests, key);
  if (!row) return std::nullopt;
  auto [digest, operation] = read_request_row(*row);
  if (digest != head.request_digest) return tl::unexpected{reused()};
  auto record = load<schema::Operation>(records, table::operations, operation);
  if (!record) return fail(fault::corrupt, "The operation of this request id is lost");
  return claim_answer{*record, {}};
}

claim_answer request_claims::grant(const std::string& key, const header& head) {
  auto& held = held_[key];
  held.number = next_++;
  held.digest = head.request_digest;
  auto self = caf::actor_cast<caf::actor_addr>(self_);
  auto give_back = [self, gone = release_claim{key, held.number}](void*) {
    if (auto operations = caf::actor_cast<caf::actor>(self)) caf::anon_send(operations, gone);
  };
  return {std::nullopt, std::shared_ptr<void>{this, give_back}};
}

caf::result<claim_answer> request_claims::take(const claim_request& request) {
  auto& head = *request.head;
  if (auto good = check_id(head.request_id); !good) return to_caf(good.error());
  auto key = request_key(head);
  auto found = begun(key, head);
  if (!found) return to_caf(found.error());
  if (*found) return **found;
  auto at = held_.find(key);
  if (at == held_.end()) return grant(key, head);
  if (at->second.digest != head.request_digest) return to_caf(reused());
  auto later = promise_of(self_);
  at->second.waiting.push_back({request, later});
  return later;
}

void request_claims::release(const release_claim& gone) {
  auto at = held_.find(gone.key);
  if (at == held_.end() || at->second.number != gone.number) return;
  auto waiting = std::move(at->second.waiting);
  held_.erase(at);
  while (!waiting.empty()) {
    auto next = std::move(waiting.front());
    waiting.pop_front();
    auto found = begun(gone.key, *next.request.head);
    if (!found) {
      next.answer.deliver(to_caf(found.error()));
    } else if (*found) {
      next.answer.deliver(**found);
    } else { // nothing came of it: the next one may try, and the rest waits for that
      auto granted = grant(gone.key, *next.request.head);
      held_[gone.key].waiting = std::move(waiting);
      next.answer.deliver(granted);
      return;
    }
  }
}

} // namespace troupe
