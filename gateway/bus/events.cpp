#include "actors/subscription.hpp"

#include "actors/event_replay.hpp"
#include "gateway/bus/ask.hpp"
#include "gateway/bus/mailbox.hpp"
#include "gateway/bus/methods.hpp"
#include "gateway/bus/visible_operation.hpp"
#include "gateway/event_scope.hpp"

#include <algorithm>
#include <variant>

namespace troupe::on_bus {
namespace {

constexpr uint32_t credits_max = 1 << 16; // of one grant
constexpr uint32_t history_shown = 100, history_max = 10'000;

// What the events actor has delivered and the bus thread has not yet fetched; never more than the client's credits.
using news = std::variant<delivery, error>; // an error is the end
using inbox = mailbox<news>;

void fill_cursor(bus::Cursor::Builder out, const event_cursor& from) {
  out.setEpoch(from.epoch);
  out.setMember(from.member);
  out.setSeq(from.seq);
}

void fill_delivery(bus::Delivery::Builder out, const delivery& from) {
  using kind = delivery::kind;
  fill_cursor(out.initAt(), from.at);
  switch (from.what) {
    case kind::snapshot:
      return from.event.read([&](auto event) { out.setSnapshot(event); });
    case kind::marker:
      return out.setMarker();
    case kind::event:
      return from.event.read([&](auto event) { out.setEvent(event); });
    case kind::bookmark:
      return out.setBookmark();
    case kind::gap:
      out.initGap().setFrom(from.gap_from);
      return out.getGap().setTo(from.gap_to);
  }
}

void fill_durable(bus::EventStream::Durable::Builder out, const durable_facts& from) {
  out.setName(from.name);
  auto filter = out.initFilter();
  fill(filter.initSubjects(static_cast<unsigned>(from.filter.subjects.size())), from.filter.subjects);
  fill(filter.initTypes(static_cast<unsigned>(from.filter.types.size())), from.filter.types);
  filter.setLeastLevel(from.filter.least_level);
  filter.setOperation(from.filter.operation);
  filter.setPrincipal(from.filter.principal);
  fill_cursor(out.initAcknowledged(), from.acknowledged);
  out.setCreatedAt(from.created_at);
  out.setAcknowledgedAt(from.acknowledged_at);
  out.setOwner(from.owner);
  out.setConnected(from.connected);
  out.setLag(from.lag);
}

// The client's end; with it the subscription goes.
class subscriber final : public bus::Subscription::Server {
public:
  subscriber(const place& at, subscription_ptr from, std::shared_ptr<inbox> in, bus::EventSink::Client to)
      : engaged_{at.of->doings}, from_{std::move(from)}, in_{std::move(in)}, to_{kj::mv(to)}, task_{follow()} {}

  kj::Promise<void> grant(GrantContext context) override {
    auto credits = context.getParams().getCredits();
    if (credits > credits_max) refuse(fault::too_large, "More than 65,536 credits at once");
    from_->grant(credits);
    return kj::READY_NOW;
  }
  kj::Promise<void> acknowledge(AcknowledgeContext context) override {
    from_->acknowledge(context.getParams().getSeq());
    return kj::READY_NOW;
  }
  kj::Promise<void> close(CloseContext) override {
    from_->close();
    engaged_.reset();
    return kj::READY_NOW;
  }

private:
  kj::Promise<void> follow() {
    return run().then([this] { engaged_.reset(); }).eagerlyEvaluate([this](kj::Exception&&) { // nobody listens any more
      from_->close();
      engaged_.reset();
    });
  }

  kj::Promise<void> run() {
    return in_->filled().then([this]() -> kj::Promise<void> {
      auto got = in_->take();
      auto at = std::find_if(got.begin(), got.end(), [](auto& one) { return std::holds_alternative<error>(one); });
      auto end = at == got.end() ? std::nullopt : std::optional{std::get<error>(*at)};
      got.erase(at, got.end()); // what a reader of the disk still brought
      auto sent = send(got);
      if (!end) return sent.then([this] { return run(); });
      return sent.then([this, why = *end] {
        auto request = to_.endedRequest();
        request.setReason(std::string{to_string(why.code)} + ": " + why.message);
        return request.send().ignoreResult();
      });
    });
  }

  kj::Promise<void> send(const std::deque<news>& deliveries) {
    if (deliveries.empty()) return kj::READY_NOW;
    auto request = to_.deliverRequest();
    auto list = request.initDeliveries(static_cast<unsigned>(deliveries.size()));
    for (unsigned i = 0; i < deliveries.size(); ++i) fill_delivery(list[i], std::get<delivery>(deliveries[i]));
    return request.send().ignoreResult();
  }

  std::optional<activity::engagement> engaged_; // until its end
  subscription_ptr from_;
  std::shared_ptr<inbox> in_;
  bus::EventSink::Client to_;
  kj::Promise<void> task_;
};

kj::Promise<bus::Subscription::Client> open(const call_ptr& c, open_subscription request, bus::EventSink::Client to,
                                            uint32_t credits) {
  if (credits > credits_max) refuse(fault::too_large, "More than 65,536 credits at once");
  auto in = std::make_shared<inbox>();
  request.head = c->at.head;
  request.deliver = [in](const delivery& one) { in->put(one); };
  request.ended = [in](const error& why) { in->put(why); };
  return ask<subscription_ptr>(c->at, role::events, std::move(request))
      .then([at = c->at, in, credits, to](subscription_ptr&& made) mutable -> bus::Subscription::Client {
        made->grant(credits);
        return kj::heap<subscriber>(at, std::move(made), in, kj::mv(to));
      });
}

// A project's stream tells of that project and of what concerns the whole server ("_").
std::vector<std::string> subjects_of(const call_ptr& c, bus::EventStream::SubscribeParams::Reader params) {
  auto& project = c->at.head->project;
  auto subjects = to_vector(params.getFilter().getSubjects());
  if (subjects.empty()) subjects = usual_subjects(c->at.head->who, project);
  for (auto& subject : subjects)
    if (!subject.starts_with(project + ".") && !subject.starts_with("_."))
      refuse(fault::forbidden, "This stream tells of the subjects \"" + project + ".>\" and \"_.>\" only");
  value_of(judge_event_scope(c->at.head->who, params.getDurable().size() > 0, subjects));
  return subjects;
}

open_subscription request_of(const call_ptr& c, bus::EventStream::SubscribeParams::Reader params) {
  open_subscription out;
  auto filter = params.getFilter();
  out.filter = {subjects_of(c, params), to_vector(filter.getTypes()), filter.getLeastLevel(),
                text(filter.getOperation()), text(filter.getPrincipal())};
  auto start = params.getStart();
  using which = bus::EventStream::Start::Which;
  if (start.which() == which::BEGINNING) out.start = start_at::beginning;
  if (start.which() == which::CURSOR) {
    auto cursor = start.getCursor();
    out.start = start_at::cursor;
    out.from = {cursor.getEpoch(), text(cursor.getMember()), cursor.getSeq()};
  }
  out.snapshot = start.getSnapshot();
  out.durable = text(params.getDurable());
  return out;
}

} // namespace

kj::Promise<void> subscribe_to_events(const call_ptr& c) {
  auto params = c->params<bus::EventStream::SubscribeParams>();
  return open(c, request_of(c, params), params.getTo(), params.getCredits())
      .then([c](bus::Subscription::Client&& made) {
        c->results<bus::EventStream::SubscribeResults>().setSubscription(kj::mv(made));
      });
}

kj::Promise<void> follow_operation(const call_ptr& c) {
  if (c->at.name().empty()) refuse(fault::not_found, "Operation not found"); // a filter without a name is for all
  return if_visible(c, [c] {
    auto params = c->params<bus::Operation::FollowParams>();
    auto& who = c->at.head->who;
    open_subscription request;
    request.filter.operation = c->at.name();
    if (who.level != trust::full) request.filter.subjects = usual_subjects(who, c->at.project());
    return open(c, std::move(request), params.getTo(), params.getCredits()).then([c](bus::Subscription::Client&& made) {
      c->results<bus::Operation::FollowResults>().setSubscription(kj::mv(made));
    });
  });
}

kj::Promise<void> list_history(const call_ptr& c) {
  using results = bus::EventStream::HistoryResults;
  auto params = c->params<bus::EventStream::HistoryParams>();
  if (view(params.getKind()).find('/') != std::string_view::npos) // it would reach into other projects' keys
    refuse(fault::invalid, "A kind has no slash");
  if (!may_follow(c->at.head->who, c->at.head->project)) refuse(fault::not_found, "Project not found");
  auto limit = params.getLimit() == 0 ? history_shown : params.getLimit();
  if (limit > history_max) refuse(fault::invalid, "\"limit\" must be between 1 and 10000");
  return reply_from_blocking_thread(c,
                                    [&db = c->with().db, kind = text(params.getKind()), project = c->at.head->project,
                                     name = text(params.getName()), before = params.getBefore(),
                                     limit]() -> outcome<message<results>> {
                                      auto found = entity_history(db.read(), kind, project, name, before, limit);
                                      return message<results>::make([&](results::Builder out) {
                                        auto list = out.initEvents(static_cast<unsigned>(found.size()));
                                        for (unsigned i = 0; i < found.size(); ++i)
                                          found[i].read([&](auto event) { list.setWithCaveats(i, event); });
                                      });
                                    });
}

kj::Promise<void> list_durables_(const call_ptr& c) {
  return ask<durable_list>(c->at, role::events, list_durables{}).then([c](durable_list&& found) {
    auto items = c->results<bus::EventStream::DurablesResults>().initItems(static_cast<unsigned>(found.size()));
    for (unsigned i = 0; i < found.size(); ++i) fill_durable(items[i], found[i]);
  });
}

kj::Promise<void> delete_durable_(const call_ptr& c) {
  return ask<void>(c->at, role::events,
                   delete_durable{text(c->params<bus::EventStream::DeleteDurableParams>().getName())});
}

} // namespace troupe::on_bus
