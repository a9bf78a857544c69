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

void fill_steps(schema::Operation::Builder op, const saga& what) {
  op.setMayCancel(what.may_cancel);
  auto steps = op.initSteps(static_cast<unsigned>(what.before.size() + what.after.size()));
  unsigned i = 0;
  for (auto& step : what.before) fill_step(steps[i++], step, false);
  for (auto& step : what.after) fill_step(steps[i++], step, true);
}

// Separators are zero bytes: no part can hold one.
std::string request_key(schema::Principal::Reader who, std::string_view project, std::string_view request_id) {
  std::string key = std::to_string(static_cast<int>(who.getProtocol()));
  for (auto part : {view(who.getUsername()), project, request_id}) {
    key += '\0';
    key += part;
  }
  return key;
}

void add_error(schema::Error::Builder into, const error& why) {
  into.setCode(static_cast<uint16_t>(why.code));
  into.setMessage(why.message);
  into.setEntity(why.entity);
}

} // namespace

operation_record make_record(const saga& what, const std::string& id, const std::string& location) {
  return operation_record::make([&](schema::Operation::Builder op) {
    fill_common(op, id, location, what.kind, what.description, *what.head, what.resources, what.entity, what.metadata);
    fill_steps(op, what);
  });
}

operation_record make_forecast(const saga& what, const std::string& id, const std::string& location,
                               const snapshot& records) {
  std::vector<error> restrictions;
  for (auto& each : what.commit.conditions) {
    auto found = records.get(each.where, each.key);
    if (found.has_value() != each.value.has_value() || (found && *found != *each.value))
      restrictions.push_back({fault::precondition, "The record has changed meanwhile"});
  }
  return operation_record::make([&](schema::Operation::Builder op) {
    fill_common(op, id, location, what.kind, what.description, *what.head, what.resources, what.entity, what.metadata);
    fill_steps(op, what);
    op.setState(schema::Operation::State::PENDING);
    for (auto step : op.getSteps())
      if (auto* kind = find_step_kind(view(step.getKind().asReader())); kind && !step.getAfter())
        step.setUndo(std::string{kind->undo});
    auto plan = op.initPlan();
    fill(plan.initAtRestart(static_cast<unsigned>(what.at_restart.size())), what.at_restart);
    auto list = plan.initRestrictions(static_cast<unsigned>(restrictions.size()));
    for (unsigned i = 0; i < restrictions.size(); ++i) add_error(list[i], restrictions[i]);
  });
}

operation_record make_record(const begin_live& what, const std::string& id, const std::string& location) {
  return operation_record::make([&](schema::Operation::Builder op) {
    fill_common(op, id, location, what.kind, what.description, *what.head, what.resources, what.entity, what.metadata);
    op.setClass(what.type);
    if (what.owner) {
      op.setMayCancel(true);
      op.setCancelEffect(schema::CancelEffect::NOW);
    }
  });
}

operation_record in_state(const operation_record& from, schema::Operation::State state, const error* why) {
  return changed(from, [&](schema::Operation::Builder op) {
    op.setState(state);
    op.setUpdatedAt(now_ns());
    if (state != schema::Operation::State::RUNNING) {
      op.setMayCancel(false);
      op.setCancelEffect(schema::CancelEffect::NO);
    }
    if (state == schema::Operation::State::SUCCEEDED) { // an earlier try may have failed behind the commit
      op.setErr("");
      op.disownError();
    }
    if (!why) return;
    op.setErr(why->message);
    add_error(op.initError(), *why);
  });
}

operation_record with_cancel(const operation_record& from, schema::CancelEffect effect, bool cancelling) {
  return changed(from, [&](schema::Operation::Builder op) {
    op.setMayCancel(effect != schema::CancelEffect::NO);
    op.setCancelEffect(effect);
    if (!cancelling) return;
    op.setState(schema::Operation::State::CANCELLING);
    op.setUpdatedAt(now_ns());
  });
}

operation_record with_step(const operation_record& from, size_t step, schema::Step::State state,
                           const std::string& problem) {
  return changed(from, [&](schema::Operation::Builder op) {
    auto row = op.getSteps()[static_cast<unsigned>(step)];
    row.setState(state);
    row.setProblem(problem);
    if (state == schema::Step::State::RUNNING) {
      row.setAttempts(static_cast<uint16_t>(row.getAttempts() + 1));
      row.setStartedAt(now_ns());
    } else {
      row.setEndedAt(now_ns());
    }
  });
}

operation_record with_progress(const operation_record& from, size_t step, const operation_progress& progress) {
  return changed(from, [&](schema::Operation::Builder op) {
    if (step >= op.getSteps().size()) return;
    auto row = op.getSteps()[static_cast<unsigned>(step)];
    row.setUnit(progress.unit);
    row.setDone(progress.done);
    row.setTotal(progress.total);
    auto took = now_ns() - row.getStartedAt();
    if (took > 0)
      row.setRate(static_cast<uint64_t>(static_cast<double>(progress.done) * 1e9 / static_cast<double>(took)));
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

schema::Operation::State state_of(const operation_record& record) {
  return record.read([](schema::Operation::Reader op) { return op.getState(); });
}

bool is_over(schema::Operation::State state) {
  using states = schema::Operation::State;
  return state != states::PENDING && state != states::RUNNING && state != states::CANCELLING;
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

void add_index(batch& into, const operation_record& record, const std::string& digest) {
  record.read([&](schema::Operation::Reader op) {
    auto id = text(op.getId());
    if (op.getEntity().size())
      into.writes.push_back({table::operation_entities, entity_prefix(view(op.getEntity())) + id, ""});
    if (op.getParent().size())
      into.writes.push_back({table::operation_entities, entity_prefix(children_of(view(op.getParent()))) + id, ""});
    if (op.getRequestId().size() == 0) return;
    auto key = request_key(op.getOwner(), view(op.getProject()), view(op.getRequestId()));
    into.conditions.push_back(absent(table::operation_requests, key));
    into.writes.push_back({table::operation_requests, key, digest + ' ' + id});
  });
}

void add_removal(batch& into, const operation_record& record) {
  record.read([&](schema::Operation::Reader op) {
    auto id = text(op.getId());
    into.writes.push_back(erase(table::operations, id));
    if (op.getEntity().size())
      into.writes.push_back(erase(table::operation_entities, entity_prefix(view(op.getEntity())) + id));
    if (op.getParent().size())
      into.writes.push_back(erase(table::operation_entities, entity_prefix(children_of(view(op.getParent()))) + id));
    if (op.getRequestId().size())
      into.writes.push_back(
          erase(table::operation_requests, request_key(op.getOwner(), view(op.getProject()), view(op.getRequestId()))));
  });
}

std::string entity_prefix(std::string_view entity) { return std::string{entity} + '\0'; }

std::string children_of(std::string_view operation) { return "operation/" + std::string{operation}; }

std::string request_key(const header& head) {
  return message<schema::Principal>::make([&](auto who) { fill(who, head.who); }).read([&](auto who) {
    return request_key(who, head.project, head.request_id);
  });
}

request_row read_request_row(std::string_view value) {
  auto space = std::min(value.find(' '), value.size());
  return {std::string{value.substr(0, space)}, std::string{value.substr(std::min(space + 1, value.size()))}};
}

std::string first_id_of(int64_t ns) {
  char id[16];
  auto ms = static_cast<uint64_t>(ns / 1'000'000);
  std::snprintf(id, sizeof id, "%08x-%04x", static_cast<unsigned>(ms >> 16), static_cast<unsigned>(ms & 0xffff));
  return id;
}

} // namespace troupe
