@description('The app as an image on Container Apps, which run the Functions host in it as a function app.')
param name string
param environmentName string
param location string
param tags object
param identityId string
param registryServer string

@description('The image, or empty for a Functions sample, until an image is deployed.')
param image string
param cpu string
param memory string
param minReplicas int
param maxReplicas int

@description('The subnet to run in, or empty.')
param subnetId string

@description('The vault that the host keeps its keys in.')
param vaultUri string
param clientId string
param settings object

var shown = empty(image) ? 'mcr.microsoft.com/k8se/quickstart-functions:latest' : image
// On a stop the host finishes the messages in work. It keeps its keys in the vault, so no setting is a secret.
var variables = union(settings, {
  FUNCTIONS_WORKER_RUNTIME: 'custom'
  FUNCTIONS_ENABLE_DRAIN_ON_APP_STOPPING: '1'
  AzureWebJobsSecretStorageType: 'keyvault'
  AzureWebJobsSecretStorageKeyVaultUri: vaultUri
  AzureWebJobsSecretStorageKeyVaultClientId: clientId
})
var probes = [
  {
    type: 'Startup'
    httpGet: { path: '/api/health/live', port: 80 }
    periodSeconds: 5
    failureThreshold: 36
  }
  {
    type: 'Readiness'
    httpGet: { path: '/api/health/ready', port: 80 }
    periodSeconds: 10
    timeoutSeconds: 5
  }
  {
    type: 'Liveness'
    httpGet: { path: '/api/health/live', port: 80 }
    periodSeconds: 30
    timeoutSeconds: 5
    failureThreshold: 4
  }
]

resource appEnvironment 'Microsoft.App/managedEnvironments@2026-07-01' = {
  name: environmentName
  location: location
  tags: tags
  properties: {
    workloadProfiles: [
      {
        name: 'Consumption'
        workloadProfileType: 'Consumption'
      }
    ]
    vnetConfiguration: empty(subnetId) ? null : { infrastructureSubnetId: subnetId }
  }
}

// The platform makes the scale rules from the triggers of the functions and refuses others beside them.
resource app 'Microsoft.App/containerApps@2026-07-01' = {
  name: name
  location: location
  tags: union(tags, { 'azd-service-name': 'score-app' })
  kind: 'functionapp'
  identity: {
    type: 'UserAssigned'
    userAssignedIdentities: {
      '${identityId}': {}
    }
  }
  properties: {
    managedEnvironmentId: appEnvironment.id
    workloadProfileName: 'Consumption'
    configuration: {
      activeRevisionsMode: 'Single'
      ingress: {
        external: true
        targetPort: 80
        allowInsecure: false
      }
      registries: [
        {
          server: registryServer
          identity: identityId
        }
      ]
    }
    template: {
      terminationGracePeriodSeconds: 60
      containers: [
        {
          name: 'score'
          image: shown
          resources: {
            cpu: json(cpu)
            memory: memory
          }
          env: map(items(variables), variable => { name: variable.key, value: variable.value })
          probes: empty(image) ? [] : probes
        }
      ]
      scale: {
        minReplicas: minReplicas
        maxReplicas: maxReplicas
      }
    }
  }
}
