#include "backends/instance/agent/agent_loop.hpp"

#include <future>

namespace troupe::guest {

namespace {
constexpr unsigned events_between_polls = 8; // so that a flood of one guest does not starve the others
}

struct agent_loop::data {
  kj::AsyncIoContext* io = nullptr;
  kj::Own<const kj::Executor> executor;
  kj::Own<kj::CrossThreadPromiseFulfiller<void>> end;
  std::thread thread;
};

agent_loop::agent_loop() : data_{std::make_unique<data>()} {
  std::promise<void> ready;
  data_->thread = std::thread{[this, &ready] {
    auto io = kj::setupAsyncIo();
    io.waitScope.setBusyPollInterval(events_between_polls);
    auto end = kj::newPromiseAndCrossThreadFulfiller<void>();
    data_->io = &io;
    data_->end = kj::mv(end.fulfiller);
    data_->executor = kj::getCurrentThreadExecutor().addRef();
    ready.set_value();
    end.promise.wait(io.waitScope);
  }};
  ready.get_future().wait();
}

agent_loop::~agent_loop() {
  data_->end->fulfill();
  data_->thread.join();
}

void agent_loop::run(kj::Function<void(kj::AsyncIoContext&)> work) {
  data_->executor->executeSync([&] { work(*data_->io); });
}

} // namespace troupe::guest
