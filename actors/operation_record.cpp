#include "actors/operation_record.hpp"

#include "actors/records.hpp"

#include <nlohmann/json.hpp>

namespace troupe {
namespace {

using resource_list = std::vector<std::pair<std::string, std::vector<std::string>>>;

void fill_common(schema::Operation::Builder op, const std::string& id, const std::string& location,
                 std::string_view kind, std::string_view description, const header& head,
                 const resource_list& resources, std::string_view entity, const std::string& metadata) {
  op.setId(id);
  op.setKind(std::string{kind});
  op.setDescription(std::string{description});
  op.setCreatedAt(now_ns());
  op.setUpdatedAt(op.getCreatedAt());
  op.setState(schema::Operation::State::RUNNING);
  op.setLocation(location);
  op.setProject(head.project);
  op.setRequestId(head.request_id);
  op.setParent(head.parent);
  op.setEntity(std::string{entity});
  op.setMetadata(metadata);
  fill(op.initOwner(), head.who);
  auto list = op.initResources(static_cast<unsigned>(resources.size()));
  for (unsigned i = 0; i < resources.size(); ++i) {
    list[i].setName(resources[i].first);
    fill(list[i].initItems(static_cast<unsigned>(resources[i].second.size())), resources[i].second);
  }
}

void fill_step(schema::Step::Builder into, const saga_step& step, bool after) {
  into.setKind(step.kind);
  into.setAfter(after);
  fill(into.initArgs(static_cast<unsigned>(step.args.size())), step.args);
}

} // namespace

operation_record make_record(const saga& what, const std::string& id, const std::string& location) {
  return operation_record::make([&](schema::Operation::Builder op) {
    fill_common(op, id, location, what.kind, what.description, *what.head, what.resources, what.entity, what.metadata);
    op.setMayCancel(what.may_cancel);
    auto steps = op.initSteps(static_cast<unsigned>(what.before.size() + what.after.size()));
    unsigned i = 0;
    for (auto& step : what.before) fill_step(steps[i++], step, false);
    for (auto& step : what.after) fill_step(steps[i++], step, true);
  });
}

operation_record make_record(const begin_live& what, const std::string& id, const std::string& location) {
  return operation_record::make([&](schema::Operation::Builder op) {
    fill_common(op, id, location, what.kind, what.description, *what.head, what.resources, what.entity, what.metadata);
    op.setClass(schema::Operation::Class::WEBSOCKET);
  });
}

operation_record in_state(const operation_record& from, schema::Operation::State state, const error* why) {
  return changed(from, [&](schema::Operation::Builder op) {
    op.setState(state);
    op.setUpdatedAt(now_ns());
    if (state != schema::Operation::State::RUNNING) op.setMayCancel(false);
    if (state == schema::Operation::State::SUCCEEDED) { // an earlier try may have failed behind the commit
      op.setErr("");
      op.disownError();
    }
    if (!why) return;
    op.setErr(why->message);
    auto record = op.initError();
    record.setCode(static_cast<uint16_t>(why->code));
    record.setMessage(why->message);
    record.setEntity(why->entity);
  });
}

operation_record with_step(const operation_record& from, size_t step, schema::Step::State state) {
  return changed(from, [&](schema::Operation::Builder op) {
    auto row = op.getSteps()[static_cast<unsigned>(step)];
    row.setState(state);
    if (state == schema::Step::State::RUNNING) {
      row.setAttempts(static_cast<uint16_t>(row.getAttempts() + 1));
      row.setStartedAt(now_ns());
    } else {
      row.setEndedAt(now_ns());
    }
  });
}

operation_record with_metadata(const operation_record& from,
                               const std::vector<std::pair<std::string, std::string>>& keys) {
  if (keys.empty()) return from;
  return changed(from, [&](schema::Operation::Builder op) {
    auto object = nlohmann::json::parse(op.getMetadata().size() ? op.getMetadata().cStr() : "{}");
    for (auto& [key, value] : keys) object[key] = nlohmann::json::parse(value);
    op.setMetadata(object.dump());
    op.setUpdatedAt(now_ns());
  });
}

std::string id_of(const operation_record& record) {
  return record.read([](schema::Operation::Reader op) { return text(op.getId()); });
}

std::vector<saga_step> steps_of(const operation_record& record, bool after_commit) {
  return record.read([&](schema::Operation::Reader op) {
    std::vector<saga_step> out;
    for (auto step : op.getSteps())
      if (step.getAfter() == after_commit) out.push_back({text(step.getKind()), to_map(step.getArgs())});
    return out;
  });
}

void add_writes(batch& into, const operation_record& record, std::string_view journal) {
  auto id = id_of(record);
  into.writes.push_back(put(table::operations, id, record));
  into.writes.push_back(
      {table::journal, id, journal.empty() ? std::nullopt : std::optional<std::string>{std::string{journal}}});
}

} // namespace troupe
