// A plugin for clang-tidy: checks look at this project's code only, not at what system headers declare.
//
// Nothing that clang-tidy finds in a system header is shown, but it walks through all of them for each of its checks,
// and <format> or nlohmann/json.hpp are a hundred times as long as a source of ours. So before the checks run, the
// declarations that they are given (the traversal scope, as clangd calls it, which does the same) are reduced to those
// outside of system headers. Headers of ours stay: a finding in them is shown as before.
#include <clang/AST/ASTConsumer.h>
#include <clang/AST/ASTContext.h>
#include <clang/Basic/SourceManager.h>
#include <clang/Frontend/CompilerInstance.h>
#include <clang/Frontend/FrontendPluginRegistry.h>

#include <memory>
#include <string>
#include <vector>

namespace {

class OwnCode : public clang::ASTConsumer {
public:
    explicit OwnCode(const clang::SourceManager& sources) : sources_(sources) {}

    bool HandleTopLevelDecl(clang::DeclGroupRef group) override {
        for (clang::Decl* declaration : group) {
            if (!sources_.isInSystemHeader(declaration->getLocation())) {
                own_.push_back(declaration);
            }
        }
        return true;
    }

    void HandleTranslationUnit(clang::ASTContext& context) override { context.setTraversalScope(own_); }

private:
    const clang::SourceManager& sources_;
    std::vector<clang::Decl*> own_;
};

class Plugin : public clang::PluginASTAction {
protected:
    std::unique_ptr<clang::ASTConsumer> CreateASTConsumer(clang::CompilerInstance& compiler,
                                                          llvm::StringRef /*file*/) override {
        return std::make_unique<OwnCode>(compiler.getSourceManager());
    }
    bool ParseArgs(const clang::CompilerInstance& /*compiler*/,
                   const std::vector<std::string>& /*arguments*/) override {
        return true;
    }
    ActionType getActionType() override { return AddBeforeMainAction; }
};

const clang::FrontendPluginRegistry::Add<Plugin> kRegistered("own-code", "checks look at own code only");

}  // namespace
