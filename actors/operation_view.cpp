#include "actors/operation_view.hpp"

#include "actors/records.hpp"
#include "messages/json.hpp"

namespace troupe {
namespace {

template <class Select>
std::vector<schema::Step::Reader> steps_where(schema::Operation::Reader op, Select select) {
  std::vector<schema::Step::Reader> out;
  for (auto step : op.getSteps())
    if (select(step)) out.push_back(step);
  return out;
}

void copy(const std::vector<schema::Step::Reader>& steps, capnp::List<schema::Step>::Builder into) {
  for (unsigned i = 0; i < steps.size(); ++i) into.setWithCaveats(i, steps[i]);
}

void fill_restriction(schema::OperationPlan::Restriction::Builder into, const error& why) {
  into.setCode(std::string{to_string(why.code)});
  into.setMessage(why.message);
  into.setEntity(why.entity);
}

} // namespace

std::vector<std::string> operations_of(const snapshot& records, std::string_view entity) {
  std::vector<std::string> out;
  auto prefix = entity_prefix(entity);
  records.scan(table::operation_entities, prefix, [&](std::string_view key, std::string_view) {
    out.emplace_back(key.substr(prefix.size()));
    return true;
  });
  return out;
}

message<schema::OperationDetails> details_of(const operation_record& record, const snapshot& records) {
  return record.read([&](schema::Operation::Reader op) {
    return message<schema::OperationDetails>::make([&](schema::OperationDetails::Builder out) {
      out.setState(op.getState());
      out.setKind(op.getKind());
      out.setEntity(op.getEntity());
      out.setCancelEffect(op.getCancelEffect());
      out.setParent(op.getParent());
      out.setSteps(op.getSteps());
      auto children = operations_of(records, children_of(view(op.getId())));
      for (auto& child : children) child = "/1.0/operations/" + child;
      fill(out.initChildren(static_cast<unsigned>(children.size())), children);
      auto left = steps_where(op, [](auto step) { return step.getState() == schema::Step::State::LEFT; });
      copy(left, out.initLeftBehind(static_cast<unsigned>(left.size())));
    });
  });
}

std::string detailed_operation_json(const operation_record& record, const snapshot& records) {
  auto out = operation_json(record);
  out.pop_back(); // the brace; LXD's fields come first
  auto more = to_json(details_of(record, records));
  // An operation in state `unknown` shows its state to everybody; it stands there once.
  if (state_of(record) == schema::Operation::State::UNKNOWN) more.erase(1, more.find(','));
  return out + ',' + more.substr(1);
}

message<schema::OperationPlan> plan_of(const operation_record& forecast) {
  return forecast.read([](schema::Operation::Reader op) {
    return message<schema::OperationPlan>::make([&](schema::OperationPlan::Builder out) {
      out.setKind(op.getKind());
      out.setDescription(op.getDescription());
      out.setEntity(op.getEntity());
      out.setSteps(op.getSteps());
      out.setMayCancel(op.getMayCancel());
      out.setAtRestart(op.getPlan().getAtRestart());
      out.setNeedsRestart(op.getPlan().getAtRestart().size() > 0);
      auto restrictions = op.getPlan().getRestrictions();
      out.setPossible(restrictions.size() == 0);
      auto list = out.initRestrictions(restrictions.size());
      for (unsigned i = 0; i < list.size(); ++i)
        fill_restriction(list[i], {static_cast<fault>(restrictions[i].getCode()), text(restrictions[i].getMessage()),
                                   text(restrictions[i].getEntity())});
    });
  });
}

message<schema::OperationPlan> plan_of(const error& refusal) {
  return message<schema::OperationPlan>::make(
      [&](schema::OperationPlan::Builder out) { fill_restriction(out.initRestrictions(1)[0], refusal); });
}

} // namespace troupe
