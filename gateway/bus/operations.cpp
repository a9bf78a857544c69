#include "actors/lifecycle_event.hpp"
#include "actors/operation_record.hpp"
#include "gateway/bus/methods.hpp"
#include "gateway/bus/page.hpp"
#include "gateway/bus/visible_operation.hpp"
#include "gateway/visible_operation.hpp"

namespace troupe::on_bus {
namespace {

// What steps were told is the daemon's own business.
void hide_arguments(schema::Operation::Builder operation) {
  for (auto step : operation.getSteps()) step.disownArgs();
}

void reply_record(const call_ptr& c, const operation_record& record) {
  reply(c, record);
  hide_arguments(c->results<schema::Operation>());
}

kj::Promise<void> find(const call_ptr& c) {
  if (auto record = load<schema::Operation>(c->with().db.read(), table::operations, c->at.name())) {
    reply_record(c, *record);
    return kj::READY_NOW;
  }
  return ask<operation_record>(c->at, role::operations, find_operation{c->at.name()})
      .then([c](operation_record&& record) { reply_record(c, record); });
}

} // namespace

// What the caller may not see is not there. Whoever may see everything need not be asked about.
kj::Promise<void> if_visible(const call_ptr& c, std::function<kj::Promise<void>()> then, bool to_cancel) {
  if (c->at.head->who.level == trust::full) return then();
  return ask<operation_record>(c->at, role::operations, find_operation{c->at.name()})
      .then([c, then, to_cancel](operation_record&& record) mutable {
        auto& who = c->at.head->who;
        if (!record.read([&](auto op) { return may_view(who, op); })) refuse(fault::not_found, "Operation not found");
        bool may = !to_cancel || record.read([&](auto op) { return may_cancel(who, op); });
        if (!may) refuse(fault::forbidden, "not authorized");
        return then();
      });
}

void check_success(const operation_record& ended) {
  ended.read([](schema::Operation::Reader op) {
    if (op.getState() == schema::Operation::State::SUCCEEDED) return;
    refuse(static_cast<fault>(op.getError().getCode()), text(op.getErr()));
  });
}

void reply_operation(const call_ptr& c, const operation_record& record, const std::optional<place>& thing) {
  auto id = id_of(record);
  auto results = c->context.getResults();
  for (auto field : results.getSchema().getFields()) {
    if (!field.getType().isInterface()) continue;
    auto type = field.getType().asInterface();
    if (short_name(type) == "Operation") {
      auto where = c->at;
      where.names = {id};
      results.set(field, make_handle(type, where));
    } else if (thing) {
      capnp::Capability::Client later{
          ask<operation_record>(c->at, role::operations, await_operation{id})
              .then([type, where = *thing](operation_record&& ended) -> capnp::Capability::Client {
                check_success(ended);
                return make_handle(type, where);
              })
              .attach(activity::engagement{c->at.of->doings})};
      results.set(field, later.castAs<capnp::DynamicCapability>(type));
    }
  }
}

kj::Promise<void> list_operations(const call_ptr& c) {
  auto params = c->params<bus::Operations::ListParams>();
  using results = bus::Operations::ListResults;
  return reply_from_blocking_thread(
      c,
      [&db = c->with().db, head = c->at.head, after = text(params.getPage().getAfter()),
       limit = params.getPage().getLimit(), filter = filter_of(params.getPage()),
       running = params.getRunning()]() -> outcome<message<results>> {
        auto records = db.read();
        auto wanted = [&](std::string_view id, std::string_view bytes) {
          if (running && !records.get(table::journal, id)) return false;
          auto record = operation_record::from_bytes(bytes);
          bool shown =
              record.read([&](auto op) { return view(op.getProject()) == head->project && may_view(head->who, op); });
          if (!shown) return false;
          return filter.empty() || filter.matches(operation_json(record));
        };
        auto found = read_page(records, table::operations, "", after, limit, wanted);
        return message<results>::make([&](results::Builder out) {
          auto items = out.initItems(static_cast<unsigned>(found.rows.size()));
          for (unsigned i = 0; i < found.rows.size(); ++i) {
            operation_record::from_bytes(found.rows[i].second).read([&](auto op) { items.setWithCaveats(i, op); });
            hide_arguments(items[i]);
          }
          out.setNext(found.next);
        });
      });
}

kj::Promise<void> view_operation(const call_ptr& c) {
  return if_visible(c, [c] { return find(c); });
}

namespace {

kj::Promise<void> await_end(const call_ptr& c) {
  auto timeout = c->params<bus::Operation::WaitParams>().getTimeoutMs();
  auto end = ask<operation_record>(c->at, role::operations, await_operation{c->at.name()})
                 .then([c](operation_record&& record) { reply_record(c, record); });
  if (timeout < 0) return end;
  auto most = int64_t{7 * 86400} * 1000;
  auto late = c->at.of->io.provider->getTimer().afterDelay(std::min(timeout, most) * kj::MILLISECONDS).then([] {
    refuse(fault::timed_out, "The operation has not ended yet");
  });
  return end.exclusiveJoin(kj::mv(late));
}

} // namespace

kj::Promise<void> wait_operation(const call_ptr& c) {
  c->context.allowCancellation();
  return if_visible(c, [c] { return await_end(c); });
}

kj::Promise<void> cancel_operation(const call_ptr& c) {
  auto cancel = [c] { return ask<void>(c->at, role::operations, troupe::cancel_operation{c->at.name(), c->at.head}); };
  return if_visible(c, cancel, true);
}

} // namespace troupe::on_bus
