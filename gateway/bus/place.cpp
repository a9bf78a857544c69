#include "gateway/bus/place.hpp"

#include "actors/records.hpp"
#include "gateway/bus/check.hpp"
#include "gateway/bus/error.hpp"
#include "gateway/bus/judge.hpp"
#include "gateway/bus/methods.hpp"

#include <algorithm>

namespace troupe::on_bus {
namespace {

constexpr size_t handles_max = 65536; // of one session

// From the start of a call to its answer, or to its end without one.
class work {
public:
  explicit work(session_ptr of) : of_{std::move(of)} {
    of_->most_at_work = std::max(of_->most_at_work, ++of_->at_work);
    of_->share.called(of_.get());
  }
  ~work() noexcept(false) {
    --of_->at_work;
    if (of_->on_answered) of_->on_answered();
  }
  KJ_DISALLOW_COPY(work);

private:
  session_ptr of_;
};

// Every noun's handle: which code serves a call is the method table's business.
class handle final : public capnp::DynamicCapability::Server {
public:
  handle(capnp::InterfaceSchema type, place where) : capnp::DynamicCapability::Server{type}, where_{std::move(where)} {
    ++where_.of->handles;
  }
  ~handle() noexcept(false) { --where_.of->handles; }

  kj::Promise<void> call(capnp::InterfaceSchema::Method method,
                         capnp::CallContext<capnp::DynamicStruct, capnp::DynamicStruct> context) override {
    auto* facts = find_method(method.getContainingInterface().getProto().getId(), method.getOrdinal());
    if (!facts || !facts->run) refuse(fault::unsupported, "This method is not supported yet");
    value_of(judge(*facts, where_));
    check_texts(context.getParams());
    auto counted = facts->waits ? kj::Own<work>{} : kj::heap<work>(where_.of);
    activity::engagement engaged{where_.of->doings};
    try {
      auto call = std::make_shared<on_bus::call>(on_bus::call{where_, getSchema(), method, context});
      return facts->run(call).attach(kj::mv(counted), kj::mv(engaged));
    } catch (const kj::Exception&) { // refused
      throw;
    } catch (const std::exception& broken) { // malformed stored data; never the end of the daemon
      log().error("{}: {}", facts->name, broken.what());
      refuse(fault::internal, "The call could not be handled");
    }
  }

private:
  place where_;
};

} // namespace

std::string place::key() const { return in_project(head->project, name()); }

place place::below(std::string name) const {
  auto out = *this;
  out.names.push_back(std::move(name));
  return out;
}

place place::beside(std::string name) const {
  auto out = *this;
  out.names.back() = std::move(name);
  return out;
}

capnp::DynamicCapability::Client make_handle(capnp::InterfaceSchema type, const place& where) {
  if (where.of->handles >= handles_max) refuse(fault::too_large, "This session has too many handles");
  return capnp::DynamicCapability::Client{kj::heap<handle>(type, where)};
}

} // namespace troupe::on_bus
