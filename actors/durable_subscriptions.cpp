#include "actors/durable_subscriptions.hpp"

#include "actors/records.hpp"
#include "messages/subscription.capnp.h"

namespace troupe {
namespace {

using record = message<schema::DurableSubscription>;

record to_record(const durable_facts& facts) {
  return record::make([&](schema::DurableSubscription::Builder into) {
    into.setName(facts.name);
    fill(into.initSubjects(static_cast<unsigned>(facts.filter.subjects.size())), facts.filter.subjects);
    fill(into.initTypes(static_cast<unsigned>(facts.filter.types.size())), facts.filter.types);
    into.setLeastLevel(facts.filter.least_level);
    into.setOperation(facts.filter.operation);
    into.setPrincipal(facts.filter.principal);
    into.setEpoch(facts.acknowledged.epoch);
    into.setMember(facts.acknowledged.member);
    into.setSeq(facts.acknowledged.seq);
    into.setCreatedAt(facts.created_at);
    into.setAcknowledgedAt(facts.acknowledged_at);
    into.setOwner(facts.owner);
  });
}

durable_facts to_facts(schema::DurableSubscription::Reader from) {
  durable_facts out;
  out.name = text(from.getName());
  out.filter = {to_vector(from.getSubjects()), to_vector(from.getTypes()), from.getLeastLevel(),
                text(from.getOperation()), text(from.getPrincipal())};
  out.acknowledged = {from.getEpoch(), text(from.getMember()), from.getSeq()};
  out.created_at = from.getCreatedAt();
  out.acknowledged_at = from.getAcknowledgedAt();
  out.owner = text(from.getOwner());
  return out;
}

} // namespace

durable_subscriptions::durable_subscriptions(const snapshot& from) {
  from.scan(table::subscriptions, "", [&](std::string_view name, std::string_view bytes) {
    all_.emplace(name, record::from_bytes(bytes).read(to_facts));
    return true;
  });
}

const durable_facts* durable_subscriptions::find(const std::string& name) const {
  auto at = all_.find(name);
  return at == all_.end() ? nullptr : &at->second;
}

durable_list durable_subscriptions::list() const {
  durable_list out;
  for (auto& [name, facts] : all_) out.push_back(facts);
  return out;
}

write durable_subscriptions::add(durable_facts made) {
  auto out = put(table::subscriptions, made.name, to_record(made));
  all_.insert_or_assign(out.key, std::move(made));
  return out;
}

write durable_subscriptions::erase(const std::string& name) {
  all_.erase(name);
  unsaved_.erase(name);
  return troupe::erase(table::subscriptions, name);
}

void durable_subscriptions::acknowledge(const std::string& name, const event_cursor& at, int64_t now) {
  auto found = all_.find(name);
  if (found == all_.end()) return;
  auto& [epoch, member, seq] = found->second.acknowledged;
  if (epoch == at.epoch && member == at.member && at.seq <= seq) return;
  found->second.acknowledged = at;
  found->second.acknowledged_at = now;
  unsaved_.insert(name);
}

batch durable_subscriptions::take_unsaved() {
  batch out;
  for (auto& name : std::exchange(unsaved_, {}))
    out.writes.push_back(put(table::subscriptions, name, to_record(all_.at(name))));
  return out;
}

} // namespace troupe
